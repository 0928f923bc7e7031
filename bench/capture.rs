//! How fast the capture is on this machine: the delay from a commit to its fsynced line in a file,
//! under a steady load, and the time to drain a load that is already in the WAL, beside
//! `pg_recvlogical` with PostgreSQL's own test_decoding on the same WAL.

mod delay;
mod drain;

fn main() {
    // cargo passes its own options; there is nothing to choose.
    delay::measure();
    drain::measure();
}
