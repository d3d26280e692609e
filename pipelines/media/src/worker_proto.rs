//! The messages between the server and its worker process, length-delimited.
