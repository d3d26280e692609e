//! The HLS load tool against a Low-Latency HLS server that is not ours: one rendition, parts of 100 ms, ten to a segment.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use skywave_load::TargetError;
use skywave_load::hls::{self, HlsLoadError, HlsOptions, HlsStepReport};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const PART: Duration = Duration::from_millis(100);
const PARTS: u64 = 10;
/// Parts that are there when the server starts.
const HEAD_START: u64 = 25;

/// What the server does.
#[derive(Debug, Clone, Copy, Default)]
struct Manner {
    /// From this part on everything comes so much later.
    pause: Option<(u64, Duration)>,
    refuses: bool,
}

struct Origin {
    begin: Instant,
    manner: Manner,
}

impl Origin {
    fn due(&self, part: u64) -> Instant {
        let late = self.manner.pause.filter(|(from, _)| part >= *from).map_or(Duration::ZERO, |(_, by)| by);
        self.begin + PART * u32::try_from(part.saturating_sub(HEAD_START)).unwrap() + late
    }

    fn published(&self) -> u64 {
        let mut count = HEAD_START;
        while self.due(count) <= Instant::now() {
            count += 1;
        }
        count
    }

    /// The body for a path, once it is there.
    async fn body(&self, path: &str) -> Option<String> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if path == "/live/index.m3u8" {
            return Some(
                "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1.42c01e\"\nv/index.m3u8\n".to_owned(),
            );
        }
        let number =
            |name: &str| query.split('&').find_map(|one| one.strip_prefix(name)?.parse::<u64>().ok());
        if path == "/live/v/index.m3u8" {
            if let (Some(msn), Some(part)) = (number("_HLS_msn="), number("_HLS_part=")) {
                tokio::time::sleep_until(self.due(msn * PARTS + part)).await;
            }
            return Some(self.playlist());
        }
        let part = path.strip_prefix("/live/v/p")?.parse::<u64>().ok()?;
        tokio::time::sleep_until(self.due(part)).await;
        Some("x".repeat(1000))
    }

    fn playlist(&self) -> String {
        let published = self.published();
        let complete = published / PARTS;
        let mut text = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-PART-INF:PART-TARGET=0.1\n".to_owned();
        text += "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.3\n#EXT-X-MEDIA-SEQUENCE:0\n";
        for msn in 0..=complete {
            for part in msn * PARTS..published.min((msn + 1) * PARTS) {
                writeln!(text, "#EXT-X-PART:DURATION=0.1,URI=\"p{part}\"").unwrap();
            }
            if msn < complete {
                writeln!(text, "#EXTINF:1.0,\n{msn}.m4s").unwrap();
            }
        }
        writeln!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p{published}\"").unwrap();
        text
    }
}

async fn start(manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/live/index.m3u8", listener.local_addr().unwrap());
    let origin = Arc::new(Origin { begin: Instant::now(), manner });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, origin.clone()));
        }
    });
    url
}

/// Requests of one connection, one after another.
async fn serve(stream: TcpStream, origin: Arc<Origin>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let body = if origin.manner.refuses { None } else { origin.body(&path).await };
        let (status, body) = body.map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn play(manner: Manner, hold: Duration) -> HlsStepReport {
    let url = start(manner).await;
    let options = HlsOptions { steps: vec![3], rate_per_s: 100.0, hold, ..HlsOptions::new(url) };
    let mut reports = Vec::new();
    hls::run(options, std::future::pending(), |report| reports.push(report.clone())).await.unwrap();
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

#[tokio::test]
async fn players_follow_the_live_edge_by_held_requests() {
    let report = play(Manner::default(), Duration::from_secs(2)).await;
    assert_eq!((report.playing, &report.failures), (3, &[].into()));
    // 20 parts in 2 s: one playlist and one part for each and each player, and none twice.
    assert!((3 * 15..=3 * 21).contains(&report.playlists), "{report:?}");
    assert!((3 * 15..=3 * 21).contains(&report.parts), "{report:?}");
    assert_eq!(report.started_ms.unwrap().count, 3);
    assert_eq!(report.playlist_after_ms.unwrap().count as u64, report.playlists);
    assert!(report.bytes > report.parts * 1000);
    assert!(report.table().contains("3 players: 3 playing"), "{}", report.table());
    let line: serde_json::Value = serde_json::from_str(&report.json_line().unwrap()).unwrap();
    assert_eq!(line["playing"], 3);
}

#[tokio::test]
async fn a_pause_of_the_server_is_a_stall() {
    let pause = Some((HEAD_START + 15, Duration::from_millis(900)));
    let report = play(Manner { pause, ..Manner::default() }, Duration::from_secs(4)).await;
    assert!(report.stalls >= 3, "{report:?}");
    // The buffer of 0.3 s lasts for some of the pause.
    assert!(report.stalled_s > 3.0 * 0.4 && report.stalled_s < 3.0 * 1.2, "{report:?}");
}

#[tokio::test]
async fn refusals_are_failures_with_a_reason() {
    let report = play(Manner { refuses: true, ..Manner::default() }, Duration::from_millis(100)).await;
    assert_eq!(report.playing, 0);
    assert!(report.failures["404 Not Found"] >= 3, "{report:?}");
}

#[tokio::test]
async fn other_machines_and_other_schemes_are_left_alone() {
    let run =
        |url: &str| hls::run(HlsOptions::new(url), std::future::pending(), |_| panic!("nothing is measured"));
    let away = run("http://192.0.2.1/hls/demo/index.m3u8").await;
    assert!(matches!(away, Err(HlsLoadError::Target(TargetError::Remote { .. }))), "{away:?}");
    let tls = run("https://127.0.0.1/hls/demo/index.m3u8").await;
    assert!(matches!(tls, Err(HlsLoadError::Target(TargetError::Url { .. }))), "{tls:?}");
}
