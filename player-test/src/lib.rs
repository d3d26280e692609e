//! Watches Skywave as a viewer would, with real browsers and players; knows only URLs.
