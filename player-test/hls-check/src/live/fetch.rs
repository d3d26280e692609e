//! HTTP requests with their times.

use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Url};
use tokio::time::Instant;

use crate::event::Answer;

/// The largest file that is read: a minute of video in one segment.
const MAX_BYTES: usize = 64 << 20;

/// Fetches, and counts time from its own beginning.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Client,
    begin: Instant,
}

impl Fetcher {
    pub(super) fn new(token: Option<&str>, insecure: bool) -> Result<Self, reqwest::Error> {
        let mut headers = HeaderMap::new();
        // A token that is no header value is left to the server to refuse.
        if let Some(Ok(mut value)) = token.map(|token| HeaderValue::try_from(format!("Bearer {token}"))) {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = Client::builder()
            .default_headers(headers)
            .no_proxy()
            .danger_accept_invalid_certs(insecure)
            .build()?;
        Ok(Self { client, begin: Instant::now() })
    }

    /// Fetches; without an answer within `limit` the status is 0.
    pub(super) async fn get(&self, url: Url, headers: &[(&str, String)], limit: Duration) -> Answer {
        let asked = self.begin.elapsed();
        let mut answer = Answer { asked, ..Answer::default() };
        let exchange = async {
            let mut request = self.client.get(url);
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            let mut response = request.send().await?;
            answer.began = self.begin.elapsed();
            answer.headers = response
                .headers()
                .iter()
                .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
                .collect();
            let status = response.status().as_u16();
            let mut body = BytesMut::new();
            while let Some(piece) = response.chunk().await? {
                if body.len() + piece.len() > MAX_BYTES {
                    break;
                }
                body.extend_from_slice(&piece);
            }
            answer.body = body.freeze();
            // Only a whole answer counts.
            answer.status = status;
            Ok::<(), reqwest::Error>(())
        };
        // No answer, or half of one, is status 0: there is nothing more to know of it.
        let _ended = tokio::time::timeout(limit, exchange).await;
        answer.done = self.begin.elapsed();
        answer
    }
}

/// Decodes a body by its `Content-Encoding`; `None` when it has none, or cannot be decoded.
pub(super) fn decoded(answer: &Answer) -> Option<Bytes> {
    let mut plain = Vec::new();
    let limit = MAX_BYTES as u64;
    let read = match answer.header("content-encoding")? {
        "gzip" => flate2::read::GzDecoder::new(&answer.body[..]).take(limit).read_to_end(&mut plain),
        "br" => {
            brotli_decompressor::Decompressor::new(&answer.body[..], 4096).take(limit).read_to_end(&mut plain)
        }
        _ => return None,
    };
    // What cannot be decoded is not what was to be sent.
    Some(read.map_or_else(|_| Bytes::new(), |_| Bytes::from(plain)))
}
