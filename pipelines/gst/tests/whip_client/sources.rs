//! Files and cameras.

use crate::camera::Camera;
use crate::server::Server;
use crate::support::{Publishing, init, options, small, wait_until};
use skywave_gst::whip_client::{PublishEvent, PublishOptions, Source, VideoChoice, VideoEncoding};
use skywave_media::codec::Codec;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// White for 100 ms at every full second, black else, and a beep of 1 kHz with it.
const FLASHES: &str = "color=black:s=320x180:r=30,drawbox=t=fill:c=white:enable='lt(mod(t,1),0.099)'";
const BEEPS: &str = "aevalsrc='if(lt(mod(t,1),0.1),0.5*sin(2*PI*1000*t),0)|if(lt(mod(t,1),0.1),0.5*sin(2*PI*1000*t),0)':s=48000";

/// A file of this many seconds, encoded by ffmpeg as `arguments` say.
fn file(folder: &TempDir, name: &str, seconds: u32, arguments: &str) -> PathBuf {
    let path = folder.path().join(name);
    let length = seconds.to_string();
    let status = Command::new("ffmpeg")
        .args([
            "-v", "error", "-f", "lavfi", "-t", &length, "-i", FLASHES, "-f", "lavfi", "-t", &length, "-i",
            BEEPS,
        ])
        .args(arguments.split(' '))
        .arg(&path)
        .status()
        .expect("ffmpeg is installed");
    assert!(status.success());
    path
}

fn of_file(path: &Path, server: &Server) -> PublishOptions {
    PublishOptions { source: Source::File(path.to_owned()), ..options(&server.url()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_sent_at_its_own_pace_in_sync_and_ends_by_itself() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "flash.mkv", 8, "-c:v libx264 -bf 2 -c:a pcm_s16le");
    let server = Server::start().await;
    let mut publishing = Publishing::start(of_file(&path, &server));
    publishing.connected().await;
    let receiver = server.peer(0);
    let summary = publishing.ends().await.unwrap();
    // From its beginning to its end; a busy machine takes longer, a skipped beginning would be shorter.
    assert!(summary.on_air > Duration::from_millis(7900), "{summary:?}");
    assert_eq!(server.asked(), ["POST /whip/demo", "DELETE /session/1"]);
    let seen = receiver.seen.lock().unwrap();
    assert!(
        seen.skews().len() >= 3,
        "{:?} {:?} {:?} {:?} {:?}",
        seen.flashes(),
        seen.beeps(),
        seen.first,
        seen.sender_reports,
        seen.skews()
    );
    assert!(seen.skews().iter().all(|s| s.abs() < 0.010), "{:?}", seen.skews());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_repeats_keeps_its_connection() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "short.mp4", 1, "-c:v libx264 -c:a aac");
    let server = Server::start().await;
    let mut publishing = Publishing::start(PublishOptions { repeat: true, ..of_file(&path, &server) });
    publishing.connected().await;
    publishing.wait_for(|e| *e == PublishEvent::SourceRestarted).await;
    publishing.wait_for(|e| *e == PublishEvent::SourceRestarted).await;
    let receiver = server.peer(0);
    wait_until("flashes", || receiver.seen.lock().unwrap().flashes().len() >= 2).await;
    let summary = publishing.stop().await;
    assert_eq!(summary.connections, 1);
    assert!(receiver.seen.lock().unwrap().pictures.windows(2).all(|w| w[0].0 < w[1].0), "time only grows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyframe_comes_when_the_server_asks_and_not_before() {
    // A picture that never changes: no flash makes the encoder start anew by itself.
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "grey.mp4", 20, "-vf lutyuv=y=100 -c:v libx264 -c:a aac");
    let server = Server::start().await;
    let encoding = VideoEncoding {
        bitrate_bps: 400_000,
        keyframe_interval: Duration::from_secs(60),
        ..VideoEncoding::default()
    };
    let video = VideoChoice::Encode(encoding);
    let mut publishing = Publishing::start(PublishOptions { video, ..of_file(&path, &server) });
    publishing.connected().await;
    let receiver = server.peer(0);
    wait_until("two seconds of pictures", || receiver.seen.lock().unwrap().pictures.len() > 60).await;
    let before = receiver.seen.lock().unwrap().keyframes;
    receiver.request_keyframe();
    wait_until("a keyframe", || receiver.seen.lock().unwrap().keyframes > before).await;
    let summary = publishing.stop().await;
    assert_eq!(before, 1, "the first picture, and no other");
    assert!(summary.keyframe_requests >= 1, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h264_without_b_frames_can_be_copied_and_with_b_frames_is_refused() {
    let folder = TempDir::new().unwrap();
    let copy =
        |path: &Path, server: &Server| PublishOptions { video: VideoChoice::Copy, ..of_file(path, server) };
    let plain =
        file(&folder, "plain.mp4", 4, "-c:v libx264 -bf 0 -g 15 -pix_fmt yuv420p -profile:v main -c:a aac");
    let server = Server::start().await;
    let mut publishing = Publishing::start(copy(&plain, &server));
    publishing.connected().await;
    let receiver = server.peer(0);
    wait_until("pictures", || receiver.seen.lock().unwrap().pictures.len() > 10).await;
    publishing.stop().await;
    assert!(server.offer().contains("profile-level-id=4d40"), "main profile: {}", server.offer());

    let reordered = file(&folder, "b.mp4", 4, "-c:v libx264 -bf 2 -pix_fmt yuv420p -c:a aac");
    let server = Server::start().await;
    let error = Publishing::start(copy(&reordered, &server)).ends().await.unwrap_err().to_string();
    assert!(error.contains("B-frames"), "{error}");

    let vp8 = file(&folder, "vp8.webm", 2, "-c:v libvpx -c:a libopus");
    let server = Server::start().await;
    let error = Publishing::start(copy(&vp8, &server)).ends().await.unwrap_err().to_string();
    assert!(error.contains("not H.264"), "{error}");
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_with_one_lane_is_offered_with_one_lane() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "sound.ogg", 4, "-map 1:a -c:a libopus");
    let server = Server::start().await;
    let mut publishing = Publishing::start(of_file(&path, &server));
    publishing.connected().await;
    publishing.stop().await;
    assert!(!server.offer().contains("m=video") && server.offer().contains("m=audio"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_no_media_are_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "not a video\n".repeat(100)).unwrap();
    let server = Server::start().await;
    let error = Publishing::start(of_file(&path, &server)).ends().await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("source {}: ", path.display())), "{error}");
    let empty = folder.path().join("empty.mp4");
    std::fs::write(&empty, "").unwrap();
    let error = Publishing::start(of_file(&empty, &server)).ends().await.unwrap_err().to_string();
    assert!(error.contains("empty.mp4"), "{error}");
    let gone = Publishing::start(of_file(Path::new("/nowhere/x.mp4"), &server))
        .ends()
        .await
        .unwrap_err()
        .to_string();
    assert!(gone.contains("/nowhere/x.mp4"), "{gone}");
    assert_eq!(server.asked(), Vec::<String>::new(), "the server is not bothered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cameras_h264_goes_out_as_it_is() {
    init();
    let camera = Camera::start(
        "x264enc tune=zerolatency speed-preset=veryfast key-int-max=25 ! video/x-h264,profile=high ! rtph264pay config-interval=-1",
        "H264/90000\r\na=fmtp:96 packetization-mode=1",
    )
    .await;
    let server = Server::start().await;
    let source: Source = camera.url().parse().unwrap();
    let auto = PublishOptions {
        source,
        video: VideoChoice::Auto(VideoEncoding::default()),
        ..options(&server.url())
    };
    let mut publishing = Publishing::start(auto);
    publishing.connected().await;
    let receiver = server.peer(0);
    wait_until("pictures", || receiver.seen.lock().unwrap().pictures.len() > 20).await;
    publishing.stop().await;
    assert!(
        server.offer().contains("profile-level-id=6400"),
        "the camera's high profile: {}",
        server.offer()
    );
    assert_eq!(receiver.seen.lock().unwrap().size, Some((320, 240)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_with_another_codec_is_encoded() {
    init();
    let camera = Camera::start("jpegenc ! rtpjpegpay", "JPEG/90000").await;
    let server = Server::start().await;
    let source: Source = camera.url().parse().unwrap();
    let mut publishing =
        Publishing::start(PublishOptions { source, video: small(Codec::Vp8), ..options(&server.url()) });
    publishing.connected().await;
    let receiver = server.peer(0);
    wait_until("pictures", || receiver.seen.lock().unwrap().pictures.len() > 20).await;
    publishing.stop().await;
    assert!(server.offer().contains("VP8/90000"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_is_not_there_is_told_without_its_password() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::start().await;
    let source = Source::Rtsp(format!("rtsp://admin:hunter2@{free}/live"));
    let error = Publishing::start(PublishOptions { source, ..options(&server.url()) })
        .ends()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with(&format!("source rtsp://{free}/live: ")), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}
