//! The way to a WebDriver on a loopback port, here or in another [`Place`].

use std::future::{Ready, ready};
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tower_service::Service;
use warp::http::Uri;

use crate::network::Place;

/// Connects to the driver, whatever host a URL names.
#[derive(Debug, Clone)]
pub(crate) struct Driver {
    place: Option<Place>,
    port: u16,
}

impl Driver {
    pub(crate) fn new(place: Option<&Place>, port: u16) -> Self {
        Self { place: place.cloned(), port }
    }

    /// Loopback connects, or refuses, at once: nobody else waits for it.
    fn connect(&self) -> io::Result<tokio::net::TcpStream> {
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        let stream = match &self.place {
            Some(place) => place.within(|| Ok(connect()?)).map_err(io::Error::other)?,
            None => connect()?,
        };
        stream.set_nonblocking(true)?;
        tokio::net::TcpStream::from_std(stream)
    }
}

impl Service<Uri> for Driver {
    type Response = TokioIo<tokio::net::TcpStream>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.connect().map(TokioIo::new))
    }
}
