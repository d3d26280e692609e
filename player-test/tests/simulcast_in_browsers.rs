//! Chromium sends its picture in two sizes at once; viewers get the one they ask for, or the one that their way carries.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use player_test::browser::{Browser, ForeignPublish, Layer};
use player_test::chromium::Chromium;
use player_test::contract::{self, Listens, MEDIA_PORT, Settings};
use player_test::network::{HOME, Network, in_a_network};
use player_test::process::show;
use player_test::server::Server;
use player_test::static_server::StaticServer;
use player_test::udp_link::{Conditions, UdpLink};
use player_test::wait;
use player_test::whep_page::{ForeignWatch, WhepStats};
use serde_json::json;

/// The publisher's estimate of its way begins low and grows by and by; viewers try a better layer only after a while.
const GROWS: Duration = Duration::from_secs(60);
const PLAYS: Duration = Duration::from_secs(30);

/// Best one last, as Chromium wants them; widths of 320 and 640. A picture of this size gets two layers in Chromium and no more.
const LAYERS: [Layer; 2] = [
    Layer { rid: "h", scale_resolution_down_by: 2.0, max_bitrate: 350_000 },
    Layer { rid: "f", scale_resolution_down_by: 1.0, max_bitrate: 1_000_000 },
];

/// Publishes noise, of which each layer takes all its bits, and waits until both are sent.
async fn publish(browser: &Browser, pages: &StaticServer, server: &Server, stream: &str) -> Result<()> {
    let what = ForeignPublish { camera: false, grain: true, layers: &LAYERS, ..ForeignPublish::default() };
    browser.publish_foreign(pages, &server.urls.whip(stream), &what).await?;
    wait::until("both layers to be sent", GROWS, async || {
        let sending = browser.sending().await?;
        let widths: Vec<u32> = sending.iter().filter(|one| one.frames > 30).map(|one| one.width).collect();
        if [320, 640].iter().all(|width| widths.contains(width)) {
            Ok(Some(()))
        } else {
            bail!("{sending:?}")
        }
    })
    .await
}

/// Waits until the picture has this width and goes on.
async fn shows(viewer: &Browser, width: u32, limit: Duration) -> Result<()> {
    wait::until(&format!("a picture {width} wide"), limit, async || {
        let seen = viewer.whep_stats().await?;
        let video = seen.video.as_ref().context("no video")?;
        if video.width == width { Ok(Some(())) } else { bail!("{seen:?}") }
    })
    .await?;
    viewer.whep_plays_on(30, false, PLAYS).await.map(drop)
}

#[tokio::test]
async fn a_viewer_gets_the_layer_it_asks_for_and_may_leave_the_choice_to_the_server_again() -> Result<()> {
    let server = Server::start().await?;
    let pages = StaticServer::start(None).await?;
    let publisher = Chromium::start("publishes-layers").await?;
    publish(&publisher, &pages, &server, "layers").await?;
    let viewer = Chromium::start("chooses-layers").await?;
    let whep = server.urls.whep("layers");
    let session = viewer.watch_whep_foreign(&pages, &whep, ForeignWatch::default()).await?;
    viewer.whep_plays_on(30, true, PLAYS).await?;
    for (rid, width) in [("h", 320), ("f", 640), ("h", 320)] {
        let choice =
            server.http.post(contract::layer_of(&session)).json(&json!({ "rid": rid })).send().await?;
        ensure!(choice.status() == 200, "{rid}: {}: {}", choice.status(), choice.text().await?);
        shows(&viewer, width, PLAYS).await?;
        show(&format!("{rid}: {:?}", viewer.whep_stats().await?.video));
    }
    let unknown = server.http.post(contract::layer_of(&session)).json(&json!({ "rid": "z" })).send().await?;
    ensure!(unknown.status() == 422, "{}", unknown.status());
    let automatic = server.http.delete(contract::layer_of(&session)).send().await?;
    ensure!(automatic.status() == 200, "{}", automatic.status());
    shows(&viewer, 640, GROWS).await?;
    let seen = viewer.whep_stats().await?;
    show(&format!("{seen:?}"));
    viewer.close().await?;
    publisher.close().await
}

/// 600 kbit/s carry the layer of 350, not that of 1,000.
#[test]
fn a_narrow_way_gets_a_smaller_picture_and_a_wide_one_beside_it_keeps_the_best() -> Result<()> {
    in_a_network(async |mut network: Network| {
        let settings = Settings { listens: Listens::At(HOME), media_threads: 1, ..Settings::default() };
        let server = Server::start_with(&settings).await?;
        let pages = StaticServer::start_on(HOME, None).await?;
        let publisher = Chromium::start("publishes-layers-at-home").await?;
        publish(&publisher, &pages, &server, "ways").await?;
        let (narrow, wide) = (network.place()?, network.place()?);
        let link = UdpLink::start((HOME, MEDIA_PORT).into(), Conditions::CLEAN, 1).await?;
        narrow.redirect_udp(MEDIA_PORT, link.port)?;
        let whep = server.urls.whep("ways");
        let behind = Chromium::start_in(&narrow, "on-a-narrow-way").await?;
        let beside = Chromium::start_in(&wide, "on-a-wide-way").await?;
        for browser in [&behind, &beside] {
            browser.watch_whep_foreign(&pages, &whep, ForeignWatch::default()).await?;
            shows(browser, 640, GROWS).await?;
        }
        link.set(Conditions { bits_per_second: Some(600_000), ..Conditions::CLEAN });
        wait::until("a smaller picture", PLAYS, async || {
            let seen = behind.whep_stats().await?;
            let width = seen.video.as_ref().context("no video")?.width;
            if width < 640 { Ok(Some(())) } else { bail!("{seen:?}") }
        })
        .await?;
        let before = beside.whep_stats().await?;
        let (samples, neighbour) = tokio::try_join!(behind.whep_samples(15), beside.whep_samples(15))?;
        let pictures: Vec<u64> =
            samples.windows(2).map(|pair| pair[1].decoded() - pair[0].decoded()).collect();
        let widths = |samples: &[WhepStats]| -> Vec<u32> {
            samples.iter().filter_map(|sample| sample.video.as_ref()).map(|video| video.width).collect()
        };
        show(&format!(
            "behind: {:?} wide, {pictures:?} a second; {:?}; beside: {:?}",
            widths(&samples),
            link.carried(),
            widths(&neighbour)
        ));
        // It may try the better one now and then: most of the time it has one that fits.
        let fitting = widths(&samples).iter().filter(|width| **width < 640).count();
        ensure!(fitting * 3 >= samples.len() * 2, "{:?}", widths(&samples));
        ensure!(
            pictures.iter().filter(|count| **count > 0).count() * 10 >= pictures.len() * 9,
            "{pictures:?}"
        );
        ensure!(widths(&neighbour).iter().all(|width| *width == 640), "{:?}", widths(&neighbour));
        let freezes = |stats: &WhepStats| stats.video.as_ref().and_then(|video| video.freeze_count);
        ensure!(freezes(&before) == neighbour.last().and_then(freezes), "the neighbour froze: {neighbour:?}");
        link.set(Conditions::CLEAN);
        shows(&behind, 640, GROWS * 2).await?;
        behind.close().await?;
        beside.close().await?;
        publisher.close().await
    })
}
