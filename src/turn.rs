//! STUN and TURN servers for clients: `Link: <..>; rel="ice-server"` (RFC 9725 section 4.6), with credentials that expire. Pure.
//!
//! The credentials follow coturn's `use-auth-secret` ("TURN REST API", draft-uberti-behave-turn-rest-00 section 2.2): the server and
//! the TURN server share a secret; the user name is the second at which it expires, and the password its HMAC-SHA1.

use crate::config::{Stun, Turn};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use skywave_media::time::UnixTime;

/// A user name and password for a TURN server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Credentials {
    username: String,
    password: String,
}

/// The values of the `Link` headers for one client. `label` ends up in the TURN server's log and travels in the clear: a word that tells
/// who it is to the operator, and opens nothing.
///
/// # Errors
/// When OpenSSL cannot make an HMAC.
pub(crate) fn links(stun: &Stun, turn: &Turn, label: &str, now: UnixTime) -> Result<Vec<String>, ErrorStack> {
    let mut links: Vec<String> = stun.urls.iter().map(|url| format!("<{url}>; rel=\"ice-server\"")).collect();
    if turn.urls.is_empty() {
        return Ok(links);
    }
    let credentials = if turn.secret.is_empty() {
        Credentials { username: turn.username.clone(), password: turn.credential.clone() }
    } else {
        let expiry_s = now.as_micros() / 1_000_000 + i64::from(turn.ttl_s);
        short_lived(&turn.secret, expiry_s, label)?
    };
    links.extend(turn.urls.iter().map(|url| {
        format!(
            "<{url}>; rel=\"ice-server\"; username=\"{}\"; credential=\"{}\"; credential-type=\"password\"",
            quoted(&credentials.username),
            quoted(&credentials.password)
        )
    }));
    Ok(links)
}

fn short_lived(secret: &str, expiry_s: i64, label: &str) -> Result<Credentials, ErrorStack> {
    let username = format!("{expiry_s}:{label}");
    let key = PKey::hmac(secret.as_bytes())?;
    let mac = Signer::new(MessageDigest::sha1(), &key)?.sign_oneshot_to_vec(username.as_bytes())?;
    Ok(Credentials { username, password: STANDARD.encode(mac) })
}

/// The inside of a quoted-string (RFC 9110 section 5.6.4).
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn() -> Turn {
        Turn {
            urls: vec!["turn:t.example:3478?transport=udp".to_owned(), "turns:t.example:443".to_owned()],
            secret: "north".to_owned(),
            ttl_s: 600,
            ..Turn::default()
        }
    }

    #[test]
    fn the_password_is_the_hmac_sha1_of_the_user_name() {
        // echo -n 1433895918:username | openssl dgst -sha1 -hmac north -binary | base64
        let made = short_lived("north", 1_433_895_918, "username").unwrap();
        assert_eq!(made.username, "1433895918:username");
        assert_eq!(made.password, "Lnvy4u5dznX7KxCwfYaMn6dzmXQ=");
        // RFC 2202 section 3, test case 2: the HMAC itself.
        let key = PKey::hmac(b"Jefe").unwrap();
        let mac = Signer::new(MessageDigest::sha1(), &key)
            .unwrap()
            .sign_oneshot_to_vec(b"what do ya want for nothing?");
        assert_eq!(
            openssl::bn::BigNum::from_slice(&mac.unwrap()).unwrap().to_hex_str().unwrap().to_lowercase(),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
    }

    #[test]
    fn every_server_has_a_link_and_turn_its_credentials() {
        let stun = Stun { urls: vec!["stun:s.example:3478".to_owned()] };
        let links = links(&stun, &turn(), "1234abcd", UnixTime::from_micros(1_000_000_000_000)).unwrap();
        assert_eq!(links[0], "<stun:s.example:3478>; rel=\"ice-server\"");
        let start = "<turn:t.example:3478?transport=udp>; rel=\"ice-server\"; username=\"1000600:1234abcd\"; credential=\"";
        assert!(
            links[1].starts_with(start) && links[1].ends_with("\"; credential-type=\"password\""),
            "{}",
            links[1]
        );
        assert!(links[2].starts_with("<turns:t.example:443>; "), "{}", links[2]);
        assert_eq!(links.len(), 3);
    }

    #[test]
    fn fixed_credentials_are_given_as_they_are() {
        let turn = Turn {
            secret: String::new(),
            username: "u\"x".to_owned(),
            credential: "c\\d".to_owned(),
            ..turn()
        };
        let links = links(&Stun::default(), &turn, "x", UnixTime::from_micros(0)).unwrap();
        assert!(links[0].contains(r#"username="u\"x"; credential="c\\d""#), "{}", links[0]);
    }
}
