//! Real Chromium on a bad way: packets are lost, late, or too many, between it and the server alone. Its picture goes on, the publisher is
//! not troubled more than once a second, and a viewer beside it on a clean way notices nothing.
//!
//! Each case says what it measured; the seeds of the ways are fixed.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use player_test::chromium::Chromium;
use player_test::contract::{Listens, MEDIA_PORT, Settings};
use player_test::load::Feed;
use player_test::network::{HOME, Network, in_a_network};
use player_test::process::show;
use player_test::server::Server;
use player_test::static_server::StaticServer;
use player_test::udp_link::{Conditions, UdpLink};
use player_test::wait;
use player_test::whep_page::{ForeignWatch, WhepStats};

const PLAYS: Duration = Duration::from_secs(30);
const MS: Duration = Duration::from_millis(1);

/// How long a bad way is watched, in seconds.
const WATCHED_S: u32 = 20;

/// A server with one media port, which is what a [`UdpLink`] stands in for.
async fn start() -> Result<(Server, StaticServer)> {
    let settings = Settings { listens: Listens::At(HOME), media_threads: 1, ..Settings::default() };
    Ok((Server::start_with(&settings).await?, StaticServer::start_on(HOME, None).await?))
}

fn media() -> SocketAddr {
    SocketAddr::from((HOME, MEDIA_PORT))
}

/// How a viewer fared.
#[derive(Debug)]
#[allow(dead_code, reason = "all of it is shown")]
struct Fared {
    /// Pictures decoded in each second.
    pictures: Vec<u64>,
    /// Packets of video received in each second.
    packets: Vec<u64>,
    freezes: u64,
    frozen_s: f64,
    /// Keyframes it asked for.
    plis: u64,
    /// Share of the packets that never came, sent again or not.
    lost: f64,
}

fn packets_of(stats: &WhepStats) -> u64 {
    stats.video.as_ref().map_or(0, |video| video.packets)
}

fn fared(before: &WhepStats, samples: &[WhepStats]) -> Result<Fared> {
    let all = || std::iter::once(before).chain(samples);
    let last = samples.last().context("no samples")?;
    let (begin, end) = (before.video.as_ref().context("video")?, last.video.as_ref().context("video")?);
    let packets = (end.packets - begin.packets) as f64;
    let lost = (end.packets_lost - begin.packets_lost).max(0) as f64;
    Ok(Fared {
        pictures: all().zip(samples).map(|(a, b)| b.decoded() - a.decoded()).collect(),
        packets: all().zip(samples).map(|(a, b)| packets_of(b) - packets_of(a)).collect(),
        freezes: end.freeze_count.context("freezeCount")? - begin.freeze_count.context("freezeCount")?,
        frozen_s: end.freezes_s.context("totalFreezesDuration")?
            - begin.freezes_s.context("totalFreezesDuration")?,
        plis: end.plis - begin.plis,
        lost: lost / (packets + lost),
    })
}

/// A bad way, and what a viewer on it may suffer in [`WATCHED_S`].
struct Case {
    stream: &'static str,
    conditions: Conditions,
    seed: u64,
    /// Seconds of all freezes together.
    frozen_s: f64,
    /// Seconds without a new picture, one after the other.
    still_s: usize,
}

/// One Chromium on such a way and one on a clean one watch the same stream.
///
/// What a case may suffer is what was seen: where the server's estimate of the way falls below six tenths of the picture's bitrate, it leaves
/// pictures out for a second and up to the next keyframe, which shows as a freeze of two to three seconds.
async fn bad_way(mut network: Network, case: Case) -> Result<()> {
    let Case { stream, conditions, seed, frozen_s, still_s } = case;
    let (server, pages) = start().await?;
    let feed = Feed::start(&server.urls.whip(stream), 800_000).await?;
    let (bad, clean) = (network.place()?, network.place()?);
    let link = UdpLink::start(media(), Conditions::CLEAN, seed).await?;
    bad.redirect_udp(MEDIA_PORT, link.port)?;
    let whep = server.urls.whep(stream);
    let sufferer = Chromium::start_in(&bad, &format!("suffers-{stream}")).await?;
    let neighbour = Chromium::start_in(&clean, &format!("beside-{stream}")).await?;
    for browser in [&sufferer, &neighbour] {
        browser.watch_whep_foreign(&pages, &whep, ForeignWatch::default()).await?;
        browser.whep_plays_on(60, true, PLAYS).await?;
    }
    link.set(conditions);
    let before = (sufferer.whep_stats().await?, neighbour.whep_stats().await?);
    let (suffered, beside) =
        tokio::try_join!(sufferer.whep_samples(WATCHED_S), neighbour.whep_samples(WATCHED_S))?;
    let carried = link.carried();
    let (suffered, beside) = (fared(&before.0, &suffered)?, fared(&before.1, &beside)?);
    let feed = feed.stop().await?;
    show(&format!(
        "{stream}: {carried:?}; on the bad way {suffered:?}; beside it {beside:?}; the publisher {feed:?}"
    ));
    let longest = suffered.pictures.split(|pictures| *pictures > 0).map(<[u64]>::len).max();
    ensure!(longest.is_some_and(|longest| longest <= still_s), "the picture stood still for {longest:?} s");
    ensure!(suffered.frozen_s <= frozen_s, "frozen for {:.1} s of {WATCHED_S}", suffered.frozen_s);
    ensure!(feed.is_no_storm(), "keyframe requests less than a second apart");
    ensure!(
        beside.freezes == 0 && beside.pictures.iter().all(|pictures| *pictures >= 10),
        "the neighbour noticed"
    );
    sufferer.close().await?;
    neighbour.close().await
}

#[test]
fn two_percent_are_lost() -> Result<()> {
    let conditions = Conditions { loss: 0.02, ..Conditions::CLEAN };
    let case = Case { stream: "loss-2", conditions, seed: 2, frozen_s: 2.0, still_s: 0 };
    in_a_network(async |network| bad_way(network, case).await)
}

#[test]
fn five_percent_are_lost() -> Result<()> {
    let conditions = Conditions { loss: 0.05, ..Conditions::CLEAN };
    let case = Case { stream: "loss-5", conditions, seed: 5, frozen_s: 2.5, still_s: 1 };
    in_a_network(async |network| bad_way(network, case).await)
}

#[test]
fn ten_percent_are_lost() -> Result<()> {
    let conditions = Conditions { loss: 0.10, ..Conditions::CLEAN };
    let case = Case { stream: "loss-10", conditions, seed: 10, frozen_s: 4.0, still_s: 1 };
    in_a_network(async |network| bad_way(network, case).await)
}

/// As on a mobile network that stutters: what is held holds what is behind it.
#[test]
fn a_hundred_milliseconds_of_jitter_in_order() -> Result<()> {
    let conditions = Conditions { jitter: 100 * MS, ..Conditions::CLEAN };
    let case = Case { stream: "jitter", conditions, seed: 100, frozen_s: 3.0, still_s: 2 };
    in_a_network(async |network| bad_way(network, case).await)
}

/// As over several ways at once: packets overtake each other by up to a tenth of a second.
#[test]
fn a_hundred_milliseconds_of_jitter_out_of_order() -> Result<()> {
    let conditions = Conditions { jitter: 100 * MS, in_order: false, ..Conditions::CLEAN };
    let case = Case { stream: "reordered", conditions, seed: 101, frozen_s: 3.0, still_s: 2 };
    in_a_network(async |network| bad_way(network, case).await)
}

/// The viewer's NAT forgets its mapping: from one packet to the next it comes from another port.
#[test]
fn a_nat_that_rebinds_costs_no_picture() -> Result<()> {
    in_a_network(async |mut network: Network| {
        let (server, pages) = start().await?;
        let _feed = Feed::start(&server.urls.whip("rebinds"), 500_000).await?;
        let place = network.place()?;
        let link = UdpLink::start(media(), Conditions::CLEAN, 1).await?;
        place.redirect_udp(MEDIA_PORT, link.port)?;
        let viewer = Chromium::start_in(&place, "rebinds").await?;
        viewer.watch_whep_foreign(&pages, &server.urls.whep("rebinds"), ForeignWatch::default()).await?;
        viewer.whep_plays_on(60, true, PLAYS).await?;
        for _ in 0..3 {
            link.rebind();
            let seen = viewer.whep_plays_on(60, true, PLAYS).await?;
            show(&format!("{seen:?}"));
        }
        viewer.close().await
    })
}

/// A viewer that vanishes without a word: its consent expires (RFC 7675 section 5.1), and nothing more is sent to where it was.
#[test]
fn nothing_is_sent_to_a_viewer_that_answers_no_longer() -> Result<()> {
    in_a_network(async |mut network: Network| {
        let (server, pages) = start().await?;
        let _feed = Feed::start(&server.urls.whip("consent"), 500_000).await?;
        let place = network.place()?;
        let link = UdpLink::start(media(), Conditions::CLEAN, 1).await?;
        place.redirect_udp(MEDIA_PORT, link.port)?;
        let viewer = Chromium::start_in(&place, "vanishes").await?;
        viewer.watch_whep_foreign(&pages, &server.urls.whep("consent"), ForeignWatch::default()).await?;
        viewer.whep_plays_on(60, true, PLAYS).await?;
        link.set(Conditions::DEAD);
        let begin = std::time::Instant::now();
        // Each look at two seconds in which nothing was tried.
        let quiet = wait::until_looking(
            2000 * MS,
            "the server to fall silent",
            Duration::from_secs(40),
            async || {
                let before = link.carried().down;
                tokio::time::sleep(2000 * MS).await;
                Ok((link.carried().down == before).then(|| begin.elapsed()))
            },
        );
        let quiet = quiet.await?;
        show(&format!("silent within {:.0} s", quiet.as_secs_f64()));
        ensure!(quiet <= Duration::from_secs(30 + 4), "RFC 7675: consent expires after 30 s");
        Ok(())
    })
}
