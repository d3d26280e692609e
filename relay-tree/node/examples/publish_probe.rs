//! Lets one browser publish to a node on loopback and tells what arrives, once a second: a way to look at a client without the
//! rest of the server.
//!
//! `cargo run -p relay-node --example publish_probe -- [HTTP-PORT] [DUMP-FILE or ''] [MEDIA-IP]`, then open
//! `http://127.0.0.1:<port>/?codec=VP8&kbps=2500&width=1280`. With a dump file, every packet and report is appended to it as one line
//! of text: `P <ns> <track> <codec> <ssrc> <sequence> <timestamp> <marker> <payload in hex>` or
//! `S <ns> <track> <ssrc> <ntp> <rtp timestamp>`.
#![allow(clippy::print_stdout)]

use relay_node::{Node, NodeConfig, PublishRequest, PublisherEvent};
use skywave_media::ingest::TrackId;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use warp::Filter;
use warp::http::{Response, StatusCode};

const PAGE: &str = include_str!("publish_probe.html");

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().map_or(Ok(8081), |p| p.parse())?;
    let dump = args.next().filter(|path| !path.is_empty());
    let bind = vec![args.next().map_or(Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)), |ip| ip.parse())?];
    let node =
        Arc::new(Node::start(NodeConfig { bind, media_port: 0, threads: 1, ..NodeConfig::default() })?);
    let page = warp::get().and(warp::path::end()).map(|| warp::reply::html(PAGE));
    let whip = warp::post().and(warp::path!("whip" / String)).and(warp::body::bytes()).then(
        move |stream: String, offer: warp::hyper::body::Bytes| {
            let (node, dump) = (node.clone(), dump.clone());
            async move {
                let offer = String::from_utf8_lossy(&offer).into_owned();
                let (events, inbox) = mpsc::channel(4_096);
                match node.publish(PublishRequest { stream, offer, events }).await {
                    Ok(answer) => {
                        println!("tracks {:?}", answer.tracks);
                        tokio::spawn(watch(node.clone(), answer.session, inbox, dump));
                        Response::builder().status(StatusCode::CREATED).body(answer.answer)
                    }
                    Err(error) => {
                        println!("refused: {error}");
                        Response::builder().status(StatusCode::BAD_REQUEST).body(error.to_string())
                    }
                }
            }
        },
    );
    let log = warp::post().and(warp::path!("log")).and(warp::body::bytes()).map(
        |text: warp::hyper::body::Bytes| {
            println!("page: {}", String::from_utf8_lossy(&text));
            StatusCode::NO_CONTENT
        },
    );
    println!("http://127.0.0.1:{port}/");
    warp::serve(page.or(log).or(whip)).run((Ipv4Addr::LOCALHOST, port)).await;
    Ok(())
}

/// Prints a line a second until the session is over; asks for a keyframe every five seconds.
async fn watch(
    node: Arc<Node>,
    session: relay_node::SessionId,
    mut inbox: mpsc::Receiver<PublisherEvent>,
    dump: Option<String>,
) {
    let mut dump = dump.and_then(|path| File::create(path).ok()).map(BufWriter::new);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut bytes: BTreeMap<TrackId, (u64, u64, String)> = BTreeMap::new();
    let mut seconds = 0_u32;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                seconds += 1;
                if seconds.is_multiple_of(5) {
                    node.request_keyframe(&session, TrackId(0));
                    node.request_keyframe(&session, TrackId(1));
                }
                let lanes: Vec<String> = bytes
                    .iter()
                    .map(|(track, (packets, bytes, codec))| format!("track {track} {codec}: {packets} packets, {} kbit/s", bytes * 8 / 1_000))
                    .collect();
                println!("{seconds:3} s  {}  {:?}", lanes.join("; "), node.stats().total());
                bytes.clear();
            }
            event = inbox.recv() => match event {
                Some(PublisherEvent::Packet { track, packet }) => {
                    let lane = bytes.entry(track).or_default();
                    lane.0 += 1;
                    lane.1 += packet.payload.len() as u64;
                    lane.2 = packet.codec.rtp_name().to_owned();
                    if let Some(dump) = &mut dump {
                        let hex: String = packet.payload.iter().map(|b| format!("{b:02x}")).collect();
                        let marker = u8::from(packet.marker);
                        let (ssrc, seq, ts) = (packet.ssrc, packet.sequence, packet.timestamp);
                        let ns = packet.arrival.as_nanos();
                        let _ = writeln!(dump, "P {ns} {track} {} {ssrc} {seq} {ts} {marker} {hex}", packet.codec.rtp_name());
                    }
                }
                Some(PublisherEvent::SenderReport { track, report }) => {
                    println!("{report:?}");
                    if let Some(dump) = &mut dump {
                        let ns = report.arrival.as_nanos();
                        let _ = writeln!(dump, "S {ns} {track} {} {} {}", report.ssrc, report.ntp, report.rtp_timestamp);
                    }
                }
                Some(event) => println!("{event:?}"),
                None => break,
            },
        }
    }
    println!("over");
}
