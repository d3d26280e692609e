//! Chromium sends its picture in two sizes at once; a viewer gets the one it asks for.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use player_test::browser::{Browser, ForeignPublish, Layer};
use player_test::chromium::Chromium;
use player_test::contract;
use player_test::process::show;
use player_test::server::Server;
use player_test::static_server::StaticServer;
use player_test::wait;
use player_test::whep_page::ForeignWatch;
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
