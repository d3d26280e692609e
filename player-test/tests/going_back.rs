//! The watch page goes back in a broadcast and comes home to live: over HLS into the past, by what played before at its edge.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use player_test::chromium::Chromium;
use player_test::contract::PublishPage;
use player_test::process::show;
use player_test::server::Server;
use player_test::wait;
use player_test::whep_page::quantile;

const READY: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_watch_page_goes_back_and_returns_to_live() -> Result<()> {
    let server = Server::start().await?;
    let publisher = Chromium::start("back-publisher").await?;
    let page = PublishPage { source: "canvas", video: "vp8", audio: true, resolution: "360p", fps: 30 };
    publisher.publish(&server.urls, "back", &page).await?;
    // Something to go back to.
    server.hls_ready("back", 8, READY).await?;
    let viewer = Chromium::start("back-viewer").await?;
    let way = viewer.watch_by_itself(&server.urls, "back").await?;
    ensure!(way == "whep", "it plays by {way}");
    let live = quantile(&viewer.shown_for(Duration::from_secs(3)).await?.delays, 0.5)?;

    let _: bool = viewer.eval("skywave.goTo(10); return true;", vec![]).await?;
    viewer.when_is("past").await?;
    let past = wait::until("pictures of the past", READY, async || {
        let shown = viewer.shown_for(Duration::from_secs(2)).await?;
        let delay = quantile(&shown.delays, 0.5)?;
        if shown.pictures >= 40 && delay > 8_000.0 {
            Ok(Some(delay))
        } else {
            bail!("{delay} ms, {} pictures", shown.pictures)
        }
    })
    .await?;
    ensure!((9_000.0..14_000.0).contains(&past), "ten seconds back are {past} ms");
    viewer.screenshot("back-in-the-past").await?;
    // Nobody is pulled back to live who has gone back on purpose.
    let still = quantile(&viewer.shown_for(Duration::from_secs(8)).await?.delays, 0.5)?;
    ensure!((past - still).abs() < 600.0, "{past} ms, then {still} ms");

    let _: bool = viewer.eval("document.querySelector('#live').click(); return true;", vec![]).await?;
    viewer.when_is("live").await?;
    let again = wait::until("live pictures", READY, async || {
        let shown = viewer.shown_for(Duration::from_secs(2)).await?;
        let delay = quantile(&shown.delays, 0.5)?;
        if delay < 1_000.0 { Ok(Some(delay)) } else { bail!("{delay} ms") }
    })
    .await?;
    show(&format!("from canvas to eye: {live} ms live, {past} ms back, {again} ms live again"));
    let path: String = viewer.eval("return skywave.stats().path;", vec![]).await?;
    ensure!(path == "whep", "live again by {path}");
    viewer.close().await?;
    publisher.close().await
}
