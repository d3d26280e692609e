//! A publisher whose H.264 has B-frames, as many cameras send it: WebRTC has no way to put pictures into order, so its viewers get the
//! worker's H.264 instead.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use player_test::contract::{TestPlay, TestPublish};
use player_test::load::crowd;
use player_test::process::show;
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::viewer::Viewer;

const WATCHED: Duration = Duration::from_secs(6);

#[tokio::test]
async fn viewers_of_a_stream_with_b_frames_get_pictures_in_order() -> Result<()> {
    let server = Server::start().await?;
    let faults = "--b-frames 2".to_owned();
    let published = TestPublish { video: "h264", faults, ..TestPublish::default() };
    let mut publisher = Publisher::start(&server.urls.whip("reordered"), &published)?;
    let whep = server.urls.whep("reordered");
    let seen = crowd(&whep, 3, 10, WATCHED).await?;
    show(&format!("{seen:?}"));
    ensure!(seen.playing == 3 && seen.failures.is_empty(), "{seen:?}");
    ensure!(seen.first_keyframe_ms.is_some_and(|spread| spread.count == 3), "{seen:?}");
    ensure!(seen.timestamps_back == 0, "pictures went back in time {} times", seen.timestamps_back);
    let decoded = Viewer::start(&whep, &TestPlay { duration_s: 6, ..TestPlay::default() })?.finish().await?;
    let video = decoded.video.context("no pictures")?;
    ensure!(video.frames > 100, "{video:?}");
    publisher.stop().await
}
