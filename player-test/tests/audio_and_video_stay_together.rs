//! A foreign WebRTC peer flashes and beeps at each full second: in HLS both are at most 40 ms apart, at the first second as at
//! the last, whatever the network does to them.

use std::time::Duration;

use anyhow::Result;
use player_test::contract::{TestPublish, fault};
use player_test::process::show;
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::skew::{self, Skew};
use player_test::{hls_check, hls_client, wait};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// Seconds that are measured.
const SECONDS: u32 = 60;
/// The most that anybody may see.
const WORST_MS: f64 = 40.0;

/// One publisher begins at a time: five encoders that start at once starve each other on two cores, and then the first
/// second tells of the machine, not of the server.
static BEGINNING: Mutex<()> = Mutex::const_new(());

async fn measure(server: &Server, stream: &str, video: &'static str, faults: &str) -> Result<Skew> {
    let beginning = BEGINNING.lock().await;
    let what = TestPublish { video, faults: faults.to_owned(), ..TestPublish::default() };
    let mut publisher = Publisher::start(&server.urls.whip(stream), &what)?;
    // Both lanes: on a busy machine the sound can be there before the first picture.
    wait::until("picture and sound", Duration::from_secs(20), async || {
        let renditions = hls_client::renditions(&server.http, &server.urls.hls(stream)).await?;
        Ok((renditions.len() == 2).then_some(()))
    })
    .await?;
    server.hls_ready(stream, 1, Duration::from_secs(20)).await?;
    drop(beginning);
    // The window is longer than what is measured: nothing of the first second is missed.
    let capture =
        hls_client::capture(&server.http, &server.urls.hls(stream), f64::from(SECONDS) + 1.0).await?;
    publisher.still_runs()?;
    show(&format!("{stream}: {:?}", server.stream(stream).await?));
    publisher.stop().await?;
    assert_eq!(capture.video()?.segments[0].sequence, 0, "{stream}: the capture has the very first segment");
    assert_eq!(hls_check::faults(&capture), Vec::<String>::new(), "{stream}");
    let folder = TempDir::new()?;
    let skew = skew::of_capture(&capture, folder.path()).await?;
    show(&format!("{stream}: {}", skew.summary()));
    Ok(skew)
}

/// At least `pairs` seconds could be measured, each is in bounds, and the first and the last two seconds are among them.
fn is_together(stream: &str, skew: &Skew, pairs: usize) {
    assert!(skew.worst_ms() <= WORST_MS, "{stream}: {}", skew.summary());
    assert!(skew.pairs.len() >= pairs, "{stream}: {}", skew.summary());
    let (first, last) = (skew.pairs[0], skew.pairs[skew.pairs.len() - 1]);
    let span = last.flash_s - first.flash_s;
    assert!(
        span >= f64::from(SECONDS) - 2.5,
        "{stream}: {span} s from the first to the last: {}",
        skew.summary()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_minute_of_every_weather() -> Result<()> {
    let server = Server::start().await?;
    let whole = SECONDS as usize - 2;
    let (clean, passed, lossy, muted, unreported) = tokio::try_join!(
        measure(&server, "clean", "vp8", ""),
        measure(&server, "passed-through", "h264", ""),
        measure(&server, "two-percent-lost", "vp8", fault::LOSS_2_PERCENT),
        measure(&server, "muted-for-5-s", "vp8", fault::MUTE_20_TO_25_S),
        measure(&server, "no-sender-reports", "vp8", fault::NO_SENDER_REPORTS),
    )?;
    is_together("clean", &clean, whole);
    is_together("passed through", &passed, whole);
    // A lost packet that comes too late may cost a flash or a beep, but only now and then.
    is_together("2 % lost", &lossy, whole - 4);
    is_together("muted", &muted, whole - 6);
    assert!((4..=6).contains(&muted.lone_flashes.len()), "five beeps were muted: {}", muted.summary());
    is_together("no sender reports", &unreported, whole);
    for (name, skew) in [("clean", &clean), ("passed through", &passed), ("no sender reports", &unreported)] {
        // The capture may cut through the very first or last pair.
        assert!(skew.lone_flashes.len() + skew.lone_beeps.len() <= 2, "{name}: {}", skew.summary());
    }
    Ok(())
}
