//! "The primary died at three in the morning, and so did its backup." On three nodes that Patroni runs, the chain goes
//! on with whichever of them is the primary.

use harness::patroni::Patroni;

#[test]
fn it_starts() {
    let mut p = Patroni::builder().start();
    let started = std::time::Instant::now();
    println!("{:?}", started.elapsed());
    let c = p.primary();
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    p.wait_for_standbys();
    let to = p.switch_over();
    println!("{to} {:?}", started.elapsed());
    p.wait_for_standbys();
    println!("{:?}", started.elapsed());
    let k = p.kill_primary();
    p.wait_for_primary();
    println!("{:?}", started.elapsed());
    p.bring_back(k);
    p.wait_for_standbys();
    println!("{:?}", started.elapsed());
}
