//! Row security policies.

use crate::follow::Pair;

#[test]
fn policies() {
    let mut pair = Pair::new();
    pair.both(&[
        "CREATE TABLE public.t (a int, \"B c\" text)",
        "CREATE TABLE public.other (a int, who name)",
    ]);
    pair.follow(&[
        "CREATE POLICY p ON public.t",
        "CREATE POLICY \"Odd \"\"pölicy\" ON public.t AS RESTRICTIVE FOR UPDATE TO alice, \"Odd role\" USING (\"B c\" <> 'it''s \\n') WITH CHECK (a > 0 OR a < -1)",
        "CREATE POLICY s ON public.t FOR SELECT TO CURRENT_USER USING (EXISTS (SELECT FROM public.other o WHERE o.a = t.a AND o.who = CURRENT_USER))",
        "CREATE POLICY i ON public.t FOR INSERT WITH CHECK (true); CREATE POLICY d ON public.t FOR DELETE TO bob USING (false)",
        "COMMENT ON POLICY s ON public.t IS 's'",
        "ALTER POLICY p ON public.t TO bob, PUBLIC USING (a = 1)",
        "ALTER POLICY p ON public.t TO bob",
        "ALTER POLICY p ON public.t WITH CHECK (a = 2)",
        "ALTER POLICY \"Odd \"\"pölicy\" ON public.t RENAME TO odd; ALTER POLICY odd ON public.t TO PUBLIC",
        "ALTER POLICY s ON public.t RENAME TO tmp; ALTER POLICY p ON public.t RENAME TO s; ALTER POLICY s ON public.t TO alice",
        "DROP POLICY s ON public.t; CREATE POLICY s ON public.t FOR DELETE USING (a IS NULL)",
        "CREATE FUNCTION public.f(int) RETURNS bool LANGUAGE sql RETURN true; ALTER POLICY s ON public.t USING (public.f(a)); CREATE POLICY f ON public.other USING (public.f(other.a))",
        "DROP FUNCTION public.f CASCADE",
        "DROP OWNED BY bob",
        "UPDATE pg_catalog.pg_policy SET polpermissive = false, polcmd = 'r' WHERE polname = 'tmp'",
        "UPDATE pg_catalog.pg_policy SET polqual = NULL WHERE polname = 'odd'; COMMENT ON POLICY odd ON public.t IS 'o'",
        "DROP POLICY tmp ON public.t",
    ]);
}
