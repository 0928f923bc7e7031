//! Statistics objects.

use crate::follow::Pair;

#[test]
fn statistics_objects() {
    let mut pair = Pair::new();
    pair.both("CREATE SCHEMA s; CREATE TABLE public.t (a int, \"B b\" int, c text)");
    pair.follow(&[
        "CREATE STATISTICS public.st ON a, \"B b\" FROM public.t; CREATE STATISTICS s.\"Odd \"\"é\" (mcv, dependencies) ON a, c, \"B b\" FROM public.t; \
         CREATE STATISTICS public.ex ON (a + 1), lower(c) FROM public.t; ALTER STATISTICS public.ex SET STATISTICS 7",
        "ALTER STATISTICS public.st SET STATISTICS 300; ALTER STATISTICS public.ex SET STATISTICS -1",
        "ALTER STATISTICS public.st RENAME TO st2; ALTER STATISTICS public.st2 SET SCHEMA s; ALTER STATISTICS s.st2 OWNER TO alice",
        "COMMENT ON STATISTICS s.st2 IS 'it''s'; ALTER STATISTICS s.st2 SET STATISTICS -1",
        "DROP STATISTICS s.st2; CREATE STATISTICS s.st2 ON c, a FROM public.t; DROP STATISTICS public.ex",
        "DROP SCHEMA s CASCADE",
    ]);
}
