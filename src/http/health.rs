//! Liveness and readiness.

use super::reply::{self, Reply};
use crate::app::App;
use bytes::Bytes;

/// `/healthz`: the process answers.
pub(super) fn alive() -> Reply {
    no_store(reply::with_type(200, "text/plain; charset=utf-8", Bytes::from_static(b"ok\n")))
}

/// `/readyz`: new publishers and viewers are welcome; 503 while the server is on its way out.
pub(super) fn ready(app: &App) -> Reply {
    let reply = if app.is_stopping() {
        reply::with_type(503, "text/plain; charset=utf-8", Bytes::from_static(b"stopping\n"))
    } else {
        reply::with_type(200, "text/plain; charset=utf-8", Bytes::from_static(b"ready\n"))
    };
    no_store(reply)
}

fn no_store(mut reply: Reply) -> Reply {
    reply.headers_mut().insert("cache-control", reply::header_value("no-store"));
    reply
}
