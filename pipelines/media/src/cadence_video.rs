//! A constant frame rate from decoded pictures that come late, early or not at all.
