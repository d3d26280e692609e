//! The players and measures themselves, on media made by ffmpeg: they see what is there, and fail on what is broken.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use player_test::chromium::Chromium;
use player_test::static_server::StaticServer;
use player_test::viewing::{Played, browser_plays_on};
use player_test::{ffmpeg, gstreamer, hls_check, hls_client, skew, spectrum, vlc};
use tempfile::TempDir;

/// 24 s of 640x360 at 30 frames a second with a flash and a beep at each full second, the beep `delay_ms` late, as HLS
/// with separate audio and video in fMP4.
async fn known_stream(folder: &Path, delay_ms: u32) -> Result<()> {
    let video = "color=black:s=640x360:r=30,drawbox=color=white:t=fill:enable='lt(mod(t,1),0.1)'";
    let delay = f64::from(delay_ms) / 1000.0;
    let audio = format!(
        "aevalsrc='if(lt(mod(t-{delay}+1,1),0.1),0.5*sin(2*PI*1000*(t-{delay})),0)':s=48000,aformat=channel_layouts=stereo"
    );
    let playlist = folder.join("r%v.m3u8");
    let video_codec =
        ["-c:v", "libx264", "-preset", "ultrafast", "-g", "60", "-pix_fmt", "yuv420p", "-bf", "0"];
    let audio_codec = ["-c:a", "aac", "-b:a", "128k"];
    let hls = ["-f", "hls", "-hls_time", "2", "-hls_segment_type", "fmp4", "-hls_playlist_type", "vod"];
    let flags = ["-hls_flags", "program_date_time+independent_segments", "-master_pl_name", "index.m3u8"];
    let map = ["-var_stream_map", "v:0,agroup:a a:0,agroup:a,default:yes"];
    let mut arguments = vec!["-f", "lavfi", "-i", video, "-f", "lavfi", "-i", &audio, "-t", "24"];
    for part in [&video_codec[..], &audio_codec, &hls, &flags, &map] {
        arguments.extend_from_slice(part);
    }
    let playlist = playlist.to_string_lossy();
    arguments.push(&playlist);
    ffmpeg::make(&arguments).await?;
    // What ffmpeg 5.1 leaves out, or writes in a form that ISO 8601 has and RFC 3339 has not.
    amend(&folder.join("index.m3u8"), "RESOLUTION=", "FRAME-RATE=30.000,RESOLUTION=")?;
    for name in ["r0.m3u8", "r1.m3u8"] {
        amend(&folder.join(name), "+0000", "Z")?;
    }
    Ok(())
}

fn amend(file: &Path, from: &str, to: &str) -> Result<()> {
    let text = std::fs::read_to_string(file)?;
    assert!(text.contains(from), "{from} in {text}");
    Ok(std::fs::write(file, text.replace(from, to))?)
}

#[tokio::test]
async fn every_player_plays_it() -> Result<()> {
    let folder = TempDir::new()?;
    known_stream(folder.path(), 0).await?;
    let server = StaticServer::start(Some(folder.path())).await?;
    let url = server.file("index.m3u8");

    let probe = ffmpeg::probe(&url).await?;
    let (video, audio) = (probe.video.expect("video"), probe.audio.expect("audio"));
    assert_eq!((video.codec_name.as_str(), video.width, video.height), ("h264", Some(640), Some(360)));
    assert!((video.fps() - 30.0).abs() < 0.1, "{video:?}");
    assert_eq!((audio.codec_name.as_str(), audio.sample_rate.as_deref()), ("aac", Some("48000")));

    let decoded = ffmpeg::decode(&url, 20).await?;
    // `-t` may cut at the last picture's begin or end.
    assert!((599..=600).contains(&decoded.pictures), "{decoded:?}");

    let wanted = Played::seconds(5, Some(30), true);
    let limit = Duration::from_secs(25);
    let (vlc, playbin) =
        tokio::try_join!(vlc::play(&url, wanted, limit), gstreamer::play(&url, wanted, limit))?;
    assert!(vlc.reaches(&wanted) && playbin.reaches(&wanted), "{vlc:?} {playbin:?}");

    let browser = Chromium::start("known-stream").await?;
    browser.watch_bare(&server, &url).await?;
    browser_plays_on(&browser, 5, Some(30), true).await?;
    assert_eq!((browser.watching().await?.width, browser.watching().await?.height), (640, 360));
    browser.close().await
}

#[tokio::test]
async fn nothing_is_played_where_nothing_is() -> Result<()> {
    let server = StaticServer::start(None).await?;
    let url = server.file("nothing.m3u8");
    let wanted = Played { pictures: 1, sounds: 1 };
    assert!(ffmpeg::probe(&url).await.is_err());
    assert!(ffmpeg::decode(&url, 1).await.is_err());
    assert!(gstreamer::play(&url, wanted, Duration::from_secs(5)).await.is_err());
    assert!(vlc::play(&url, wanted, Duration::from_secs(5)).await.is_err());
    let browser = Chromium::start("nothing").await?;
    assert!(browser.watch_bare(&server, &url).await.is_err());
    browser.close().await
}

#[tokio::test]
async fn ffmpeg_complains_of_one_damaged_segment() -> Result<()> {
    let folder = TempDir::new()?;
    known_stream(folder.path(), 0).await?;
    let segment = folder.path().join("r03.m4s");
    let mut bytes = std::fs::read(&segment)?;
    let middle = bytes.len() / 2;
    bytes[middle..middle + 400].fill(0xff);
    std::fs::write(&segment, bytes)?;
    let server = StaticServer::start(Some(folder.path())).await?;
    assert!(ffmpeg::decode(&server.file("index.m3u8"), 20).await.is_err());
    Ok(())
}

#[tokio::test]
async fn skew_is_measured_as_it_was_made() -> Result<()> {
    for made_ms in [0, 120] {
        let folder = TempDir::new()?;
        known_stream(folder.path(), made_ms).await?;
        let server = StaticServer::start(Some(folder.path())).await?;
        let http = reqwest::Client::new();
        let capture = hls_client::capture(&http, &server.file("index.m3u8"), 23.0).await?;
        assert_eq!(hls_check::faults(&capture), Vec::<String>::new());
        let skew = skew::of_capture(&capture, folder.path()).await?;
        // The flash at 0 s has no begin that could be seen; 23 more follow.
        assert_eq!(skew.pairs.len(), 23, "{}", skew.summary());
        for pair in &skew.pairs {
            let off = pair.skew_ms() - f64::from(made_ms);
            // ffmpeg's muxer leaves its AAC encoder's priming of 1024 samples (21.3 ms) to an edit list.
            assert!(off.abs() <= 25.0, "made {made_ms} ms: {}", skew.summary());
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_hole_in_the_timeline_is_found() -> Result<()> {
    let folder = TempDir::new()?;
    known_stream(folder.path(), 0).await?;
    amend(&folder.path().join("r0.m3u8"), "r04.m4s", "r05.m4s")?;
    let server = StaticServer::start(Some(folder.path())).await?;
    let capture = hls_client::capture(&reqwest::Client::new(), &server.file("index.m3u8"), 20.0).await?;
    let faults = hls_check::faults(&capture);
    assert_eq!(faults.len(), 2, "a hole before the segment and an overlap after: {faults:?}");
    assert!(faults.iter().all(|fault| fault.contains("ms after the end of the one before")), "{faults:?}");
    Ok(())
}

#[tokio::test]
async fn a_click_in_a_tone_is_found() -> Result<()> {
    let folder = TempDir::new()?;
    let file = folder.path().join("tone.mp4");
    let name = file.to_string_lossy();
    ffmpeg::make(&["-f", "lavfi", "-i", "sine=1000:r=48000", "-t", "5", "-ac", "2", "-c:a", "aac", &name])
        .await?;
    let samples = ffmpeg::stereo_samples(&file).await?;
    // Without the encoder's fade at both ends.
    let mut left: Vec<f32> = samples[4800..samples.len() - 4800].iter().map(|pair| pair[0]).collect();
    let clean = spectrum::tone(&left, 1000.0)?;
    assert!((clean.hertz - 1000.0).abs() < 0.2 && clean.worst_snr_db > 35.0, "{clean:?}");
    left.drain(20_000..20_020);
    let clicked = spectrum::tone(&left, 1000.0)?;
    assert!(clicked.worst_snr_db < 20.0 && clicked.median_snr_db > 40.0, "{clicked:?}");
    Ok(())
}
