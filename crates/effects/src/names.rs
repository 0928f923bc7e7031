//! Names of OIDs in queries: always schema-qualified, whatever the search_path.

/// `schema.name` of a function, or NULL if the OID is 0.
#[macro_export]
macro_rules! function_name {
    ($oid:expr) => {
        concat!(
            "(SELECT pg_catalog.quote_ident(fn.nspname) OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) \
             pg_catalog.quote_ident(fp.proname) FROM pg_catalog.pg_proc fp \
             JOIN pg_catalog.pg_namespace fn ON fn.oid = fp.pronamespace WHERE fp.oid = ", $oid, "::pg_catalog.oid)"
        )
    };
}

/// `schema.name(types)` of a function, or NULL if the OID is 0.
#[macro_export]
macro_rules! function_signature {
    ($oid:expr) => {
        concat!(
            "(SELECT pg_catalog.quote_ident(fn.nspname) OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) \
             pg_catalog.quote_ident(fp.proname) OPERATOR(pg_catalog.||) '(' OPERATOR(pg_catalog.||) coalesce(\
             (SELECT pg_catalog.string_agg(pg_catalog.format_type(ft.oid, NULL), ', ' ORDER BY ft.ordinality) \
             FROM ROWS FROM (pg_catalog.unnest(fp.proargtypes::pg_catalog.oid[])) WITH ORDINALITY AS ft (oid, ordinality)), '') \
             OPERATOR(pg_catalog.||) ')' FROM pg_catalog.pg_proc fp \
             JOIN pg_catalog.pg_namespace fn ON fn.oid = fp.pronamespace WHERE fp.oid = ", $oid, "::pg_catalog.oid)"
        )
    };
}

/// `schema.name` of an operator, or NULL if the OID is 0. Its name is not quoted.
#[macro_export]
macro_rules! operator_name {
    ($oid:expr) => {
        concat!(
            "(SELECT pg_catalog.quote_ident(nn.nspname) OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) no.oprname \
             FROM pg_catalog.pg_operator no JOIN pg_catalog.pg_namespace nn ON nn.oid = no.oprnamespace WHERE no.oid = ", $oid, ")"
        )
    };
}

/// `schema.name` of a row of another catalog (`pg_ts_dict`, `dictname`, `dictnamespace`), or NULL.
#[macro_export]
macro_rules! name_in_schema {
    ($catalog:literal, $name:literal, $schema:literal, $oid:expr) => {
        concat!(
            "(SELECT pg_catalog.quote_ident(nn.nspname) OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) \
             pg_catalog.quote_ident(no.", $name, ") FROM pg_catalog.", $catalog, " no \
             JOIN pg_catalog.pg_namespace nn ON nn.oid = no.", $schema, " WHERE no.oid = ", $oid, ")"
        )
    };
}
