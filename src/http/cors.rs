//! CORS, the same on every answer, errors included: any page may publish and play, and may read the headers
//! that WHIP and HLS clients need.

use warp::http::{HeaderMap, HeaderValue};

/// Response headers a script may read.
const EXPOSED: &str = "ETag, Location, Link, Accept-Patch, Accept-Post, Retry-After, Allow, WWW-Authenticate, \
     Content-Range, Content-Length, Date";

/// Request headers a script may set.
const ALLOWED: &str = "Authorization, Content-Type, If-Match, If-None-Match, If-Range, Range";

/// Puts the CORS headers on an answer.
pub(super) fn expose(headers: &mut HeaderMap) {
    headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
    headers.insert("access-control-expose-headers", HeaderValue::from_static(EXPOSED));
    headers.insert("access-control-allow-headers", HeaderValue::from_static(ALLOWED));
    headers.insert("access-control-max-age", HeaderValue::from_static("7200"));
}
