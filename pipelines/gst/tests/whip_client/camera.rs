//! An RTSP camera, as small as one can be: H.264 and Opus, interleaved over TCP only (RFC 7826 section 14).

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks};
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Serves one picture source to any number of askers until dropped.
pub struct Camera {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Camera {
    /// A camera that sends video made by `encoder` (a pipeline fragment up to the payloader).
    pub async fn start(encoder: &'static str, rtpmap: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, encoder, rtpmap));
            }
        });
        Self { address, task }
    }

    pub fn url(&self) -> String {
        format!("rtsp://{}/live", self.address)
    }
}

/// One connection, until the other side hangs up.
async fn serve(stream: TcpStream, encoder: &str, rtpmap: &str) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let (packets, mut to_send) = mpsc::unbounded_channel::<Vec<u8>>();
    let mut playing = None;
    loop {
        let mut request = Vec::new();
        loop {
            tokio::select! {
                line = lines.next_line() => match line {
                    Ok(Some(line)) if line.is_empty() => break,
                    Ok(Some(line)) => request.push(line),
                    // Hung up, or its RTCP, which is no text: either way it is being served no longer.
                    _ => return drop(playing),
                },
                Some(packet) = to_send.recv() => if writer.write_all(&packet).await.is_err() { return },
            }
        }
        let Some(method) = request.first().and_then(|l| l.split(' ').next()).map(str::to_owned) else {
            continue;
        };
        let header = |name: &str| {
            let value = |l: &String| {
                l.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|p| p.1.trim().to_owned())
            };
            request.iter().find_map(value).unwrap_or_default()
        };
        let (mut status, mut extra, mut body) = ("200 OK", String::new(), String::new());
        match method.as_str() {
            "OPTIONS" => extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n".into(),
            "DESCRIBE" => {
                body = format!(
                    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
                     m=video 0 RTP/AVP 96\r\na=rtpmap:96 {rtpmap}\r\na=control:video\r\n"
                );
                extra = "Content-Type: application/sdp\r\n".into();
            }
            "SETUP" if header("Transport").contains("interleaved") => {
                extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n".into();
            }
            "SETUP" => status = "461 Unsupported Transport",
            "PLAY" => extra = "Session: 1\r\n".into(),
            _ => {}
        }
        let reply = format!(
            "RTSP/1.0 {status}\r\nCSeq: {}\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            header("CSeq"),
            body.len()
        );
        if writer.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
        if method == "PLAY" {
            playing = Some(Playing::start(encoder, packets.clone()));
        }
    }
}

struct Playing(gst::Pipeline);

impl Drop for Playing {
    fn drop(&mut self) {
        self.0.set_state(gst::State::Null).unwrap();
    }
}

impl Playing {
    fn start(encoder: &str, packets: mpsc::UnboundedSender<Vec<u8>>) -> Self {
        let source = "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=25/1";
        let pipeline =
            gst::parse::launch(&format!("{source} ! {encoder} pt=96 ! appsink name=out sync=false")).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let sink = pipeline.by_name("out").unwrap().downcast::<AppSink>().unwrap();
        sink.set_callbacks(
            AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    let map = sample.buffer().unwrap().map_readable().unwrap();
                    let mut framed = vec![b'$', 0];
                    framed.extend(u16::try_from(map.len()).unwrap().to_be_bytes());
                    framed.extend_from_slice(&map);
                    packets.send(framed).map_err(|_| gst::FlowError::Eos)?;
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
        pipeline.set_state(gst::State::Playing).unwrap();
        Self(pipeline)
    }
}
