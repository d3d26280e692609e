//! A certificate that nobody vouches for: for trying, and for phones of one's own network, whose browsers give out the camera only
//! over https.

use super::identity::{Files, TlsError};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How long it is good. Apple's systems refuse server certificates of more than 825 days even where a person trusts them.
pub(super) const DAYS: i64 = 397;

/// A clock of another device may be this much behind.
const BACKDATED_S: i64 = 86_400;

/// Names in the certificate, at the most: a machine with hundreds of container bridges needs no more.
const MAX_NAMES: usize = 64;

/// A certificate and its key, as PEM.
pub(super) struct Made {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

/// What the certificate is for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    hosts: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// `localhost`, the host's own name and addresses, the address listened on, and the host of `public_url`.
    pub(super) fn of_this_machine(listen: Option<IpAddr>, public_url: &str) -> Self {
        let mut names = Self::default();
        names.add("localhost");
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim().to_ascii_lowercase();
        names.add(&host);
        if !host.is_empty() && !host.contains('.') && host != "localhost" {
            // By multicast DNS (RFC 6762), as phones find machines of a home network.
            names.add(&format!("{host}.local"));
        }
        names.add(host_of(public_url));
        let fixed = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let listen = listen.filter(|address| !address.is_unspecified());
        for address in fixed.into_iter().chain(listen).chain(addresses()) {
            names.add_address(address);
        }
        names
    }

    fn add(&mut self, name: &str) {
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            self.add_address(address);
            return;
        }
        let is_host = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
        if !name.is_empty() && name.len() <= 253 && is_host && !self.hosts.iter().any(|one| one == name) {
            self.hosts.push(name.to_owned());
        }
    }

    fn add_address(&mut self, address: IpAddr) {
        if !self.addresses.contains(&address) && self.addresses.len() < MAX_NAMES {
            self.addresses.push(address);
        }
    }
}

/// Every address of the machine that other machines can have of it; link-local IPv6 ones need a zone, which no URL can carry.
pub(super) fn addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let usable = |address: &IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    interfaces.into_iter().map(|interface| interface.ip()).filter(usable).collect()
}

/// The host of a URL, without port; empty for an empty one.
fn host_of(url: &str) -> &str {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// Makes a pair: ECDSA on P-256, which every TLS client knows (RFC 8446 section 9.1).
pub(super) fn make(names: &Names) -> Result<Made, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_nid(Nid::ORGANIZATIONNAME, "Skywave (self-signed)")?;
    // RFC 5280 has 64 characters for it.
    let common = names.hosts.last().map_or("localhost", String::as_str);
    subject.append_entry_by_nid(Nid::COMMONNAME, &common.chars().take(64).collect::<String>())?;
    let subject = subject.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let now = i64::try_from(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs(),
    )
    .unwrap_or_default();

    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(serial.to_asn1_integer()?.as_ref())?;
    builder.set_subject_name(&subject)?;
    builder.set_issuer_name(&subject)?;
    builder.set_pubkey(&key)?;
    builder.set_not_before(Asn1Time::from_unix(now - BACKDATED_S)?.as_ref())?;
    builder.set_not_after(Asn1Time::from_unix(now - BACKDATED_S + DAYS * 86_400)?.as_ref())?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
    let mut alternative = SubjectAlternativeName::new();
    for host in &names.hosts {
        alternative.dns(host);
    }
    for address in &names.addresses {
        alternative.ip(&address.to_string());
    }
    let alternative = alternative.build(&builder.x509v3_context(None, None))?;
    builder.append_extension(alternative)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok(Made { certificate: builder.build().to_pem()?, key: key.private_key_to_pem_pkcs8()? })
}

/// Makes a pair and writes it where neither file is there yet; a pair whose time is over is made anew.
pub(super) fn keep(files: &Files, names: &Names) -> Result<(), TlsError> {
    if files.cert.exists() || files.key.exists() {
        let over = std::fs::read(&files.cert).ok().and_then(|pem| X509::from_pem(&pem).ok());
        let now = Asn1Time::days_from_now(0)?;
        if !over.is_some_and(|own| is_ours(&own) && *own.not_after() < now) {
            return Ok(());
        }
        tracing::info!("the self-signed certificate has expired and is made anew");
    }
    let made = make(names)?;
    write("tls.key", &files.key, &made.key, 0o600)?;
    write("tls.cert", &files.cert, &made.certificate, 0o644)
}

/// Nothing that somebody else has made is ever written over.
fn is_ours(certificate: &X509) -> bool {
    let mut organisations = certificate.subject_name().entries_by_nid(Nid::ORGANIZATIONNAME);
    organisations.any(|entry| entry.data().as_slice() == b"Skywave (self-signed)")
}

fn write(key: &'static str, path: &Path, text: &[u8], mode: u32) -> Result<(), TlsError> {
    let failed = |source| TlsError::Write { key, path: path.to_owned(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_certificate_is_for_the_names_of_this_machine() {
        let names = Names::of_this_machine(Some([192, 0, 2, 7].into()), "https://live.example.org:8443/base");
        let made = make(&names).unwrap();
        let certificate = X509::from_pem(&made.certificate).unwrap();
        let alternative = certificate.subject_alt_names().unwrap();
        let hosts: Vec<&str> = alternative.iter().filter_map(|name| name.dnsname()).collect();
        assert!(hosts.contains(&"localhost") && hosts.contains(&"live.example.org"), "{hosts:?}");
        let addresses: Vec<&[u8]> = alternative.iter().filter_map(|name| name.ipaddress()).collect();
        assert!(addresses.contains(&&[127, 0, 0, 1][..]) && addresses.contains(&&[192, 0, 2, 7][..]));
        assert!(certificate.verify(&certificate.public_key().unwrap()).unwrap());
    }

    #[test]
    fn the_host_of_a_url_is_what_stands_before_port_and_path() {
        for (url, host) in [
            ("", ""),
            ("https://a.example", "a.example"),
            ("https://a.example:1/b", "a.example"),
            ("http://[::1]:80", "::1"),
        ] {
            assert_eq!(host_of(url), host);
        }
    }

    #[test]
    fn a_kept_pair_stays_and_its_key_is_for_its_owner_alone() {
        let folder = tempfile::TempDir::new().unwrap();
        let files =
            Files { cert: folder.path().join("tls/cert.pem"), key: folder.path().join("tls/key.pem") };
        let names = Names::of_this_machine(None, "");
        keep(&files, &names).unwrap();
        let first = std::fs::read(&files.cert).unwrap();
        keep(&files, &names).unwrap();
        assert_eq!(std::fs::read(&files.cert).unwrap(), first);
        assert_eq!(std::fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn half_a_pair_that_somebody_else_made_is_not_written_over() {
        let folder = tempfile::TempDir::new().unwrap();
        let files = Files { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
        std::fs::write(&files.key, "mine").unwrap();
        keep(&files, &Names::default()).unwrap();
        assert_eq!(std::fs::read_to_string(&files.key).unwrap(), "mine");
        assert!(!files.cert.exists());
    }
}
