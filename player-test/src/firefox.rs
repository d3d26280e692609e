//! Firefox ESR, driven by geckodriver.

use std::ops::Deref;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::browser::{Browser, START_LIMIT};
use crate::network::Place;
use crate::process::Process;

/// One Firefox with one page. It ends, with its driver, when this goes.
#[derive(Debug)]
pub struct Firefox(Browser);

impl Deref for Firefox {
    type Target = Browser;

    fn deref(&self) -> &Browser {
        &self.0
    }
}

impl From<Firefox> for Browser {
    fn from(firefox: Firefox) -> Self {
        firefox.0
    }
}

impl Firefox {
    /// Starts a browser; `name` is for logs and screenshots.
    ///
    /// # Errors
    /// When there is no geckodriver (the text says how to install it), or Firefox does not start.
    pub async fn start(name: &str) -> Result<Self> {
        Self::launch(name, None).await
    }

    /// The same in another place: it reaches home only through that place's link.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_in(place: &Place, name: &str) -> Result<Self> {
        Self::launch(name, Some(place)).await
    }

    async fn launch(name: &str, place: Option<&Place>) -> Result<Self> {
        let profile = TempDir::new()?;
        let mut command = Command::new(geckodriver()?);
        // Port 0 takes a free one; the port of Firefox's own Marionette likewise.
        command.args(["--port", "0", "--marionette-port", "0", "--log", "info", "--profile-root"]);
        command.arg(profile.path());
        let mut driver = Process::spawn_in(place, &format!("geckodriver ({name})"), command)?;
        let port =
            |line: &str| -> Option<u16> { line.split("Listening on 127.0.0.1:").nth(1)?.trim().parse().ok() };
        let port: u16 = driver.line("its port", START_LIMIT, port).await?;
        let mut capabilities = Map::new();
        let options = json!({ "binary": "firefox-esr", "args": ["-headless", "--width=1000", "--height=800"],
            "prefs": preferences() });
        capabilities.insert("moz:firefoxOptions".to_owned(), options);
        Ok(Self(Browser::connect(name, driver, port, capabilities, profile, place).await?))
    }

    /// Ends the browser in an orderly way: its connections close as when a person closes the window.
    ///
    /// # Errors
    /// When the driver has died.
    pub async fn close(self) -> Result<()> {
        self.0.close().await
    }
}

/// Debian has no geckodriver; `make test-deps` has cargo install it, into a folder that need not be in `PATH`.
fn geckodriver() -> Result<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    std::env::split_paths(&on_path)
        .chain(cargo_home.map(|home| home.join("bin")))
        .map(|folder| folder.join("geckodriver"))
        .find(|path| path.is_file())
        .context("no geckodriver: run `make test-deps`, or `cargo install --locked geckodriver`")
}

/// Preferences beside those that geckodriver sets itself: fake devices without a question, WebRTC on loopback, pictures and
/// sound without a click, and no traffic of its own.
fn preferences() -> Value {
    json!({
        "media.navigator.permission.disabled": true,
        "media.navigator.streams.fake": true,
        "media.autoplay.default": 0,
        "media.autoplay.blocking_policy": 0,
        // Heard by the page, not by the person who runs the tests.
        "media.volume_scale": "0.0",
        // Without this Firefox leaves loopback out of ICE. With it, 153 was still seen to gather no loopback candidate and to pair none with
        // a server's 127.0.0.1: it reaches a server on this machine by the machine's other addresses, so it needs one, and media must not be
        // bound to loopback alone.
        "media.peerconnection.ice.loopback": true,
        // Addresses instead of mDNS names, which nobody on a test machine resolves.
        "media.peerconnection.ice.obfuscate_host_addresses": false,
        // The same encoder on every machine.
        "media.webrtc.hw.h264.enabled": false,
        // No download of OpenH264 and the like: see `what_a_fresh_firefox_can_send` in tests/firefox_publishes.rs for what that means.
        "media.gmp-manager.url": "data:text/plain,",
        "media.gmp-manager.updateEnabled": false,
        "app.update.disabledForTesting": true,
        "app.normandy.enabled": false,
        "browser.region.network.url": "",
        "browser.safebrowsing.downloads.remote.enabled": false,
        "browser.safebrowsing.malware.enabled": false,
        "browser.safebrowsing.phishing.enabled": false,
        "datareporting.policy.dataSubmissionEnabled": false,
        "dom.push.connection.enabled": false,
        "extensions.getAddons.cache.enabled": false,
        "extensions.systemAddon.update.enabled": false,
        "extensions.update.enabled": false,
        "network.captive-portal-service.enabled": false,
        "network.connectivity-service.enabled": false,
        "network.dns.disablePrefetch": true,
        "services.settings.server": "data:,#remote-settings-dummy/v1",
        "toolkit.telemetry.enabled": false,
        "toolkit.telemetry.server": "data:text/plain,",
        // Timers of a page nobody looks at are slowed down, and the canvas publisher is driven by one.
        "dom.min_background_timeout_value": 4,
        "dom.timeout.enable_budget_timer_throttling": false,
        "widget.windows.window_occlusion_tracking.enabled": false,
    })
}
