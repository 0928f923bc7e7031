//! SIGKILL while the end of a chain is being set apart.

use crate::takeover::TAKE_OVER;
use crate::takeover_lost::Promoted;

#[test]
fn a_server_that_is_killed_while_it_sets_commits_apart_goes_on_with_it() {
    for point in [
        "switch: set apart",
        "switch: shortened",
        "switch: marked",
        "switch: remove",
    ] {
        let promoted = Promoted::new();
        let server = &promoted.server;
        server.set_day(0, &format!("kill 1 {point}\n"));
        server.try_sql(TAKE_OVER).ok();
        server.wait_for_kill();
        server.set_day(0, "");
        promoted.assert_set_apart();
    }
}
