//! Segments: plain SQL with structural comments.
//!
//! [`grammar`] formats and parses one structural line, [`header`] the lines before the first transaction,
//! [`DdlBlock`] those of a statement with arbitrary text, [`EffectNote`] and [`Words`] the comments above a
//! schema change; [`writer`] appends, [`rotate`] closes, [`resume`] opens a chain for appending after a stop
//! or a crash, [`parse`] reads a segment as a stream of events, [`summary`] sums them up, [`source`] opens
//! compressed segments too.
//!
//! Every structural line is a comment with the segment's random key:
//!
//! ```text
//! -- pg_incrbackup segment format=2
//! -- @KEY header system_identifier=… …
//! \restrict KEY
//! SET …;
//! -- @KEY transaction xid=748 commit_lsn=0/15E0F88 commit_time=2026-11-21T03:40:00.123456Z role=bob application=psql client=10.0.0.5
//! BEGIN;
//! INSERT INTO public.a (id) VALUES (1);
//! COPY public.a (id) FROM stdin;
//! 2
//! \.
//! -- @KEY words command=CREATE%20TABLE role=bob at=… text=create%20table%20t%28a%20int%29
//! -- @KEY effect lines=3 class=table oid=16401 verb=create identity=public.t needs=2615:2200
//! DO $rKEY$ BEGIN EXECUTE $sKEY$
//! CREATE TABLE public.t (a integer)
//! $sKEY$; END $rKEY$;
//! -- @KEY unhandled class=operator%20family command=CREATE%20OPERATOR%20FAMILY
//! -- @KEY ddl lines=5 command=CREATE%20TABLE role=bob
//! DO $rKEY$ BEGIN SET LOCAL ROLE bob; EXECUTE $sKEY$
//! CREATE TABLE t(
//!   a int)
//! $sKEY$; END $rKEY$;
//! SET LOCAL ROLE NONE;
//! -- @KEY role name=alice superuser=off
//! -- @KEY member name=bob of=alice
//! -- @KEY role_renamed name=bob to=robert
//! -- @KEY role_dropped name=robert
//! -- @KEY tablespace name=fast
//! -- @KEY tablespace_renamed name=fast to=slow
//! -- @KEY flag reason=…
//! -- @KEY flag reason=… lost=rows class=table oid=16401 identity=public.t
//! -- @KEY left_out object=view%20public.v definition=…
//! -- @KEY mark name=before%20release%2042 role=bob at=…
//! SELECT pg_catalog.setval('public.s', 33, true);
//! COMMIT;
//! -- @KEY position lsn=0/15E1000 at=2026-11-21T03:40:10.000000Z
//! -- @KEY sequences lsn=0/15E1000 at=2026-11-21T03:40:10.000000Z
//! BEGIN;
//! SELECT pg_catalog.setval('public.s', 65, true);
//! COMMIT;
//! -- @KEY footer last_commit_lsn=… end_lsn=… first_commit_at=… last_commit_at=… transactions=1 statements=3
//! \unrestrict KEY
//! ```

mod cluster_fact;
mod ddl_block;
mod effect;
mod file;
mod flag;
pub mod former;
pub mod grammar;
pub mod header;
mod last;
pub(crate) mod lost;
pub mod manifest_line;
mod mark;
pub mod parse;
pub mod resume;
pub mod rotate;
pub mod source;
pub mod summary;
pub mod switch;
mod who;
pub mod writer;

pub use cluster_fact::ClusterFact;
pub use ddl_block::DdlBlock;
pub use effect::{Effect, EffectNote, TypedWords, Words};
pub use flag::{Lost, What, ANY};
pub use grammar::{Footer, Key};
pub use header::{Header, Previous, SETTINGS};
pub use mark::Mark;
pub use parse::{Event, Part, Scanner, Standing};
pub use resume::{SegmentIdentity, TornTail};
pub use rotate::ClosedSegment;
pub use summary::{Summary, Tally};
pub use switch::Switch;
pub use who::Who;
pub use writer::{Appender, Counters};
