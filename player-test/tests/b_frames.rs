//! A publisher whose H.264 has B-frames, which WebRTC players do not expect: its viewers get pictures in the order in which they are shown.

use std::time::Duration;

use anyhow::Result;
use player_test::contract::{TestPlay, ordered_arguments, pictures_out_of_order, publish_file_arguments};
use player_test::ffmpeg;
use player_test::process::Process;
use player_test::server::Server;
use player_test::viewer::Viewer;
use player_test::{contract, wait};
use tempfile::TempDir;
use tokio::process::Command;

/// 20 s of pictures, two B-frames between each two others.
async fn file_with_b_frames(folder: &std::path::Path) -> Result<String> {
    let file = folder.join("b-frames.mp4").to_string_lossy().into_owned();
    let coding = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-b_strategy", "0", "-g", "30"];
    let mut arguments = vec!["-f", "lavfi", "-i", "testsrc2=s=320x180:r=30", "-t", "20"];
    arguments.extend(coding);
    arguments.extend(["-profile:v", "main", "-pix_fmt", "yuv420p", &file]);
    ffmpeg::make(&arguments).await?;
    Ok(file)
}

#[tokio::test]
async fn viewers_get_pictures_in_order_and_the_worker_makes_them() -> Result<()> {
    let folder = TempDir::new()?;
    let file = file_with_b_frames(folder.path()).await?;
    let server = Server::start().await?;
    let mut command = Command::new(contract::binary()?);
    command.args(publish_file_arguments(&file, &server.urls.whip("b")));
    let mut publisher = Process::spawn("skywave publish of a file with B-frames", command)?;
    // The worker's first segment: what is published has been looked at.
    wait::until("the stream to be on HLS", Duration::from_secs(30), async || {
        let answer = server.http.get(server.urls.hls("b")).send().await?;
        Ok(answer.status().is_success().then_some(()))
    })
    .await?;
    let whep = server.urls.whep("b");
    let seen = Viewer::start(&whep, &TestPlay { audio: false, ..TestPlay::default() })?.finish().await?;
    let video = seen.video.expect("pictures were decoded");
    assert_eq!((video.codec.as_str(), video.width, video.height), ("h264", 320, 180));
    assert!(video.frames > 60, "{video:?}");
    let mut command = Command::new(contract::binary()?);
    command.args(ordered_arguments(&whep, Duration::from_secs(5)));
    let mut watcher = Process::spawn("skywave bench whep", command)?;
    let steps = watcher.line("its report", Duration::from_secs(60), pictures_out_of_order).await?;
    assert_eq!(steps, 0, "no picture comes after one that is shown later");
    assert!(publisher.is_running());
    Ok(())
}
