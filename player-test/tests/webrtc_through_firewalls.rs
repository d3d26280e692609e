//! Who gets no UDP to the server publishes and watches all the same: over TCP, or through a TURN server (coturn) with the credentials
//! that Skywave hands out. Each viewer is in a network of its own behind a firewall that counts what it stops.

use std::time::Duration;

use anyhow::{Result, ensure};
use player_test::browser::{ForeignPublish, ForeignWay, Way};
use player_test::chromium::Chromium;
use player_test::contract::{Listens, MEDIA_PORT, PublishPage, Settings, TestPlay, TestPublish, page};
use player_test::firefox::Firefox;
use player_test::network::{Blocked, HOME, HOME_V6, Network, Place, in_a_network};
use player_test::process::show;
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::static_server::StaticServer;
use player_test::turn::{self, Turn};
use player_test::viewer::Viewer;
use player_test::wait;
use player_test::whep_page::ForeignWatch;

const PLAYS: Duration = Duration::from_secs(30);

/// Pictures that prove that it goes on.
const PICTURES: u64 = 60;

/// Shared by coturn and Skywave.
const SECRET: &str = "north-of-the-wall";

/// A server at home, with a TURN server beside it.
struct Home {
    turn: Turn,
    server: Server,
    pages: StaticServer,
}

impl Home {
    /// `transport`: how clients are told to reach the TURN server.
    async fn start(transport: &str) -> Result<Self> {
        let url = format!("turn:{HOME}:{}?transport={transport}", turn::PORT);
        let settings = Settings {
            listens: Listens::At(HOME),
            turn: Some((url, SECRET.to_owned())),
            ..Settings::default()
        };
        Ok(Self {
            turn: Turn::start(HOME, SECRET).await?,
            server: Server::start_with(&settings).await?,
            pages: StaticServer::start_on(HOME, None).await?,
        })
    }

    /// A browser in `place` publishes and another one watches that, both by `way`; gives how each is connected.
    async fn browser_to_browser(&self, place: &Place, stream: &str, way: ForeignWay) -> Result<[Way; 2]> {
        let publisher = Chromium::start_in(place, &format!("publisher-{stream}")).await?;
        // Drawn: a page that is not `https` gets no camera.
        let what = ForeignPublish { camera: false, way, ..ForeignPublish::default() };
        publisher.publish_foreign(&self.pages, &self.server.urls.whip(stream), &what).await?;
        let viewer = Chromium::start_in(place, &format!("viewer-{stream}")).await?;
        let what = ForeignWatch { way, ..ForeignWatch::default() };
        viewer.watch_whep_foreign(&self.pages, &self.server.urls.whep(stream), what).await?;
        let seen = viewer.whep_plays_on(PICTURES, true, PLAYS).await?;
        let ways = [publisher.publishing_way().await?, viewer.watching_way().await?];
        show(&format!("{stream}: {ways:?}: {seen:?}"));
        viewer.stop_whep().await?;
        viewer.close().await?;
        publisher.unpublish_foreign().await?;
        publisher.close().await?;
        Ok(ways)
    }

    /// Allocations that coturn has given to users of Skywave's making.
    fn allocations(&self) -> usize {
        self.turn.log().iter().filter(|line| line.contains("ALLOCATE processed, success")).count()
    }
}

/// Through the TURN server at home, which it reaches over `relay_protocol`.
fn relayed(way: &Way, relay_protocol: &str) -> bool {
    way.local.as_deref() == Some("relay")
        && way.relay_protocol.as_deref() == Some(relay_protocol)
        && way.remote == Some(HOME.to_string())
}

/// Only the TURN server may be reached by UDP. The credentials come with the answer, as RFC 9725 section 4.6 has it.
#[test]
fn chromium_publishes_and_watches_through_turn_where_udp_to_the_server_is_blocked() -> Result<()> {
    in_a_network(async |mut network: Network| {
        let home = Home::start("udp").await?;
        let place = network.place()?;
        let (udp, tcp) = (place.block_udp(Some(turn::PORT))?, block_media_over_tcp(&place)?);
        let way = ForeignWay { servers: "answer", ..ForeignWay::default() };
        let ways = home.browser_to_browser(&place, "turn-udp", way).await?;
        ensure!(ways.iter().all(|way| relayed(way, "udp")), "{ways:?}");
        ensure!(udp.packets()? > 0, "the direct way was not even tried");
        ensure!(home.allocations() >= 2, "{:?}", home.turn.log());
        show(&format!("stopped: {} UDP packets, {tcp} TCP", udp.packets()?, tcp = tcp[0].packets()?));
        Ok(())
    })
}

/// Nothing but HTTP: the publish page leaves WebRTC by itself and goes on air with MediaRecorder and a WebSocket.
#[test]
fn the_publish_page_goes_on_air_where_only_http_is_open() -> Result<()> {
    in_a_network(async |mut network: Network| {
        let settings = Settings { listens: Listens::At(HOME), ..Settings::default() };
        let server = Server::start_with(&settings).await?;
        let place = network.place()?;
        let (udp, _tcp) = (place.block_udp(None)?, block_media_over_tcp(&place)?);
        let publisher = Chromium::start_in(&place, "publisher-webm").await?;
        let page = PublishPage { source: "canvas", video: "vp8", audio: true, resolution: "360p", fps: 30 };
        publisher.publish(&server.urls, "http-only", &page).await?;
        let via: String = publisher.eval("return skywave.via;", vec![]).await?;
        ensure!(via == "webm", "it went out by {via}");
        ensure!(udp.packets()? > 0, "WebRTC was not even tried");
        publisher.screenshot("publisher-webm").await?;
        // The watch page in the same network finds its way too: WHEP does not get through, HLS does.
        let viewer = Chromium::start_in(&place, "viewer-http-only").await?;
        viewer.watch_by_itself(&server.urls, "http-only").await?;
        player_test::viewing::browser_plays_on(&viewer, 6, Some(30), true).await?;
        viewer.close().await?;
        publisher.close().await
    })
}

/// No UDP at all, and of TCP only HTTP and the TURN server: a network that lets out what looks like the web. The credentials are asked for
/// before the offer.
#[test]
fn chromium_publishes_and_watches_through_turn_over_tcp_where_only_that_is_open() -> Result<()> {
    in_a_network(async |mut network: Network| {
        let home = Home::start("tcp").await?;
        let place = network.place()?;
        let (udp, _tcp) = (place.block_udp(None)?, block_media_over_tcp(&place)?);
        let way = ForeignWay { servers: "options", ..ForeignWay::default() };
        let ways = home.browser_to_browser(&place, "turn-tcp", way).await?;
        ensure!(ways.iter().all(|way| relayed(way, "tcp")), "{ways:?}");
        ensure!(udp.packets()? > 0, "UDP was not even tried");
        Ok(())
    })
}

/// No UDP at all: ICE-TCP (RFC 6544), on the port of the media.
#[test]
fn chromium_publishes_and_watches_over_tcp_where_udp_is_blocked() -> Result<()> {
    in_a_network(async |mut network: Network| {
        let home = Home::start("udp").await?;
        let place = network.place()?;
        let udp = place.block_udp(None)?;
        // Not told of any TURN server: there is no other way than TCP.
        let ways = home.browser_to_browser(&place, "ice-tcp", ForeignWay::default()).await?;
        for way in &ways {
            ensure!(
                way.protocol.as_deref() == Some("tcp") && way.local.as_deref() != Some("relay"),
                "{way:?}"
            );
        }
        ensure!(udp.packets()? > 0, "UDP was not even tried");
        Ok(())
    })
}

/// The signalling by IPv4, the media by IPv6.
#[test]
fn chromium_publishes_and_watches_over_ipv6_where_ipv4_lets_no_media_through() -> Result<()> {
    in_a_network(async |mut network: Network| {
        let home = Home::start("udp").await?;
        let place = network.place()?;
        let (udp, _tcp) = (place.block_udp_v4()?, block_media_over_tcp(&place)?);
        let ways = home.browser_to_browser(&place, "ipv6", ForeignWay::default()).await?;
        let v6 = |way: &Way| way.remote.as_ref().is_some_and(|remote| remote.contains(&HOME_V6.to_string()));
        ensure!(ways.iter().all(v6), "{ways:?}");
        ensure!(udp.packets()? > 0, "IPv4 was not even tried");
        Ok(())
    })
}

#[test]
fn firefox_watches_through_turn_where_udp_to_the_server_is_blocked() -> Result<()> {
    in_a_network(async |mut network: Network| {
        let home = Home::start("udp").await?;
        let place = network.place()?;
        // It takes ICE-TCP where that is open.
        let (udp, _tcp) = (place.block_udp(Some(turn::PORT))?, block_media_over_tcp(&place)?);
        let mut publisher = Publisher::start(&home.server.urls.whip("firefox"), &TestPublish::default())?;
        home.server.hls_ready("firefox", 1, PLAYS).await?;
        let viewer = Firefox::start_in(&place, "firefox-through-turn").await?;
        let way = ForeignWay { servers: "answer", ..ForeignWay::default() };
        let what = ForeignWatch { way, ..ForeignWatch::default() };
        viewer.watch_whep_foreign(&home.pages, &home.server.urls.whep("firefox"), what).await?;
        let seen = viewer.whep_plays_on(PICTURES, true, PLAYS).await?;
        let way = viewer.watching_way().await?;
        show(&format!("Firefox: {way:?}: {seen:?}"));
        ensure!(relayed(&way, "udp") && udp.packets()? > 0, "{way:?}");
        viewer.close().await?;
        publisher.stop().await
    })
}

/// webrtcbin, which asks for the servers by OPTIONS, there as publisher and as viewer.
#[test]
fn skywave_publish_and_play_go_through_turn_where_udp_to_the_server_is_blocked() -> Result<()> {
    in_a_network(async |mut network: Network| {
        let home = Home::start("udp").await?;
        let place = network.place()?;
        let udp = place.block_udp(Some(turn::PORT))?;
        let mut publisher =
            Publisher::start_in(&place, &home.server.urls.whip("gst"), &TestPublish::default())?;
        home.server.hls_ready("gst", 1, PLAYS).await?;
        let seen =
            Viewer::start_in(&place, &home.server.urls.whep("gst"), &TestPlay::default())?.finish().await?;
        show(&format!("{seen:?}"));
        ensure!(seen.video.as_ref().is_some_and(|video| video.frames >= PICTURES), "{seen:?}");
        ensure!(udp.packets()? > 0, "the direct way was not even tried");
        ensure!(home.allocations() >= 2, "{:?}", home.turn.log());
        publisher.still_runs()?;
        publisher.stop().await
    })
}

/// The built-in pages, which nobody has told anything.
#[test]
fn the_pages_find_their_way_through_turn_by_themselves() -> Result<()> {
    in_a_network(async |mut network: Network| {
        let home = Home::start("udp").await?;
        let place = network.place()?;
        let (_udp, _tcp) = (place.block_udp(Some(turn::PORT))?, block_media_over_tcp(&place)?);
        let publisher = Chromium::start_in(&place, "publish-page-through-turn").await?;
        let what = PublishPage { source: "canvas", video: "vp8", audio: false, resolution: "360p", fps: 30 };
        publisher.publish(&home.server.urls, "pages", &what).await?;
        let viewer = Chromium::start_in(&place, "watch-page-through-turn").await?;
        let path = viewer.watch_by_itself(&home.server.urls, "pages").await?;
        ensure!(path == page::WHEP, "it plays by {path}");
        let before = viewer.watching().await?;
        wait::until("the picture to go on", PLAYS, async || {
            let now = viewer.watching().await?;
            Ok((now.frames >= before.frames + PICTURES).then_some(()))
        })
        .await?;
        viewer.screenshot("watch-page-through-turn").await?;
        ensure!(home.allocations() >= 2, "{:?}", home.turn.log());
        viewer.close().await?;
        publisher.close().await
    })
}

/// The media ports of all relay threads.
fn block_media_over_tcp(place: &Place) -> Result<Vec<Blocked>> {
    let threads = u16::try_from(std::thread::available_parallelism()?.get())?;
    (MEDIA_PORT..MEDIA_PORT + threads).map(|port| place.block_tcp(port)).collect()
}
