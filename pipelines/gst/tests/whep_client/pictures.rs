//! What is decoded, counted and measured.

use crate::sender::Sends;
use crate::server::Server;
use crate::support::{Playing, buffers, frames};
use skywave_gst::whep_client::{PlayOptions, PlayStats, VideoWanted};
use skywave_media::codec::Codec;
use std::time::Duration;

async fn server_of(sends: Sends) -> Server {
    let server = Server::start().await;
    *server.state.setup.lock().unwrap() = sends;
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_and_sound_are_decoded_counted_and_measured() {
    let server = Server::start().await;
    let mut playing = Playing::start(PlayOptions::new(server.url()));
    playing.reads("both lanes", |s| frames(s) > 30 && buffers(s) > 50).await;
    let seen = playing.stop().await;
    let (video, audio) = (seen.video.unwrap(), seen.audio.unwrap());
    assert_eq!((video.codec, video.width, video.height), (Codec::Vp8, 320, 180));
    assert!(video.keyframes >= 1 && video.keyframes < video.frames / 2, "{video:?}");
    assert!(video.longest_pause >= Duration::from_millis(20), "{video:?}");
    assert_eq!(audio.codec, Codec::Opus);
    // A sine of half the full scale.
    assert!((-7.0..=-5.0).contains(&audio.peak_db), "{audio:?}");
    let (length, count) = (audio.length.as_secs_f64(), audio.buffers as f64);
    assert!((length / count - 0.020).abs() < 0.001, "{audio:?}");
    assert!(seen.packets > video.frames + audio.buffers - 10 && seen.bytes > 50 * seen.packets, "{seen:?}");
    let first_packet = seen.first_packet_after.unwrap();
    assert!(
        seen.connected_after < video.first_frame_after && first_packet < video.first_frame_after,
        "{seen:?}"
    );
    assert_eq!((seen.lost_packets, seen.lost), (0, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_codec_is_decoded_when_it_alone_is_asked_for() {
    for (name, codec) in [("VP9", Codec::Vp9), ("H264", Codec::H264), ("VP8", Codec::Vp8)] {
        let server = server_of(Sends { video: Some(name), ..Sends::default() }).await;
        let options = PlayOptions { video: VideoWanted::Only(codec), ..PlayOptions::new(server.url()) };
        let mut playing = Playing::start(options);
        playing.reads(name, |s| frames(s) > 20).await;
        let video = playing.stop().await.video.unwrap();
        assert_eq!((video.codec, video.width, video.height), (codec, 320, 180));
        assert!(video.keyframes >= 1, "{video:?}");
        let offer = server.offer();
        assert!(offer.contains(&format!("{name}/90000")), "{offer}");
        assert_eq!(
            offer.matches("/90000").count(),
            offer.matches("rtx/90000").count() + h264_twice(codec),
            "{offer}"
        );
    }
}

/// H.264 is offered in two profiles.
fn h264_twice(codec: Codec) -> usize {
    if codec == Codec::H264 { 2 } else { 1 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_lane_alone_is_enough() {
    let server = Server::start().await;
    let mut sound = Playing::start(PlayOptions { video: VideoWanted::Off, ..PlayOptions::new(server.url()) });
    sound.reads("sound", |s| buffers(s) > 25).await;
    let seen = sound.stop().await;
    assert!(seen.video.is_none() && seen.audio.is_some());
    assert!(!server.offer().contains("m=video"));

    let server = server_of(Sends { audio: None, ..Sends::default() }).await;
    let mut picture = Playing::start(PlayOptions { audio: false, ..PlayOptions::new(server.url()) });
    picture.reads("pictures", |s| frames(s) > 10).await;
    let seen = picture.stop().await;
    assert!(seen.video.is_some() && seen.audio.is_none());
    assert!(!server.offer().contains("m=audio"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_packets_are_told_and_a_keyframe_is_asked_for() {
    let server = server_of(Sends { loss: 0.10, ..Sends::default() }).await;
    let mut playing = Playing::start(PlayOptions::new(server.url()));
    // `identity` drops before webrtcbin, so nothing can be sent again: only a keyframe mends the picture. Whether the test's own sender
    // makes one is no matter of this test.
    let asked =
        |s: &PlayStats| s.lost_packets > 5 && s.video.is_some_and(|video| video.keyframe_requests > 0);
    playing.reads("losses and a request", asked).await;
    playing.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_picture_is_saved() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("last.png");
    let server = Server::start().await;
    let options = PlayOptions { snapshot: Some(path.clone()), ..PlayOptions::new(server.url()) };
    let mut playing = Playing::start(options);
    playing.reads("pictures", |s| frames(s) > 3).await;
    playing.stop().await;
    let png = std::fs::read(&path).unwrap();
    // PNG (third edition) sections 5.2 and 11.2.2: the signature, and width and height in the IHDR chunk.
    assert_eq!(png[..8], [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a]);
    let word = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    assert_eq!((word(16), word(20)), (320, 180));
}
