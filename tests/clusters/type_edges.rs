//! Every type and its edge values: those of PostgreSQL itself, of the extensions beside it, and of
//! a schema of our own.

/// A type and SQL expressions for its edge values. Values that pg_dump itself cannot carry are not
/// here; NULL is added to each.
pub const EDGES: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["-32768", "32767", "0"]),
    ("integer", &["-2147483648", "2147483647"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    (
        "numeric",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "0.000",
            "-1.10",
            "1e-1000",
            "1e1000",
            "'-0'",
        ],
    ),
    ("numeric(10,2)", &["99999999.99", "-0.01"]),
    ("numeric(3,-2)", &["12345"]),
    (
        "real",
        &[
            "'-0'",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "1e-45",
            "3.4028235e38",
            "0.1",
        ],
    ),
    (
        "double precision",
        &[
            "'-0'",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "5e-324",
            "1.7976931348623157e308",
            "0.1",
        ],
    ),
    ("money", &["'-92233720368547758.08'", "'0.01'"]),
    (
        "text",
        &[
            "''",
            "'it''s'",
            r"'back\slash'",
            r"E'\\.'",
            r"E'line\nbreak\r\ttab\b\f\v'",
            r"E'\nCOMMIT;\n\\! echo gone\n'",
            "'-- @0123456789abcdef footer'",
            "'$$ $1 :name :\"q\" :''x'' '",
            "'äöü 漢字 🐘'",
            r"E'\u0001\u007f'",
            "repeat('long ', 30000)",
            "'null'",
            "'NULL'",
            r"'\N'",
        ],
    ),
    ("varchar(5)", &["'abc'", "'ab   '"]),
    ("character(5)", &["'ab'", "''", "'  x'"]),
    ("\"char\"", &["'a'", "''", r"'\377'::text"]),
    ("name", &["'a name'", "'\"quoted\"'"]),
    (
        "bytea",
        &[
            r"'\x'",
            r"'\x00ff5c270a'",
            r"decode(repeat('00ff', 5000), 'hex')",
        ],
    ),
    ("bit(9)", &["B'101010101'"]),
    ("bit varying", &["B''", "B'1'", "B'00000000000000001'"]),
    (
        "date",
        &[
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 BC'",
            "'5874897-12-31'",
            "'2024-02-29'",
        ],
    ),
    ("time", &["'24:00:00'", "'00:00'", "'23:59:59.999999'"]),
    ("timetz", &["'24:00:00-15:59:59'", "'12:00:00.5+05:30'"]),
    (
        "timestamp",
        &[
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 00:00:00 BC'",
            "'294276-12-31 23:59:59.999999'",
        ],
    ),
    (
        "timestamptz",
        &[
            "'infinity'",
            "'-infinity'",
            "'0044-03-15 12:00:00+00 BC'",
            "'2024-10-27 02:30:00+01'",
        ],
    ),
    (
        "interval",
        &[
            "'-178000000 years'",
            "'1 mon -1 day +00:00:00.000001'",
            "'-1 year +2 mons -3 days +04:05:06.7'",
            "'0'",
        ],
    ),
    ("interval day to second", &["'1 day 01:02:03'"]),
    (
        "uuid",
        &[
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    (
        "inet",
        &["'::ffff:1.2.3.4/128'", "'10.1.2.3/8'", "'fe80::1'"],
    ),
    ("cidr", &["'10.0.0.0/8'", "'2001:db8::/32'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    (
        "json",
        &[
            r#"'{"b": 1,  "a":2, "a" : null}'"#,
            r#"'"\u00e4\n"'"#,
            "'null'",
        ],
    ),
    (
        "jsonb",
        &[
            r#"'{"b": [1.10, {}], "a": "\\ '' \n"}'"#,
            "'null'",
            "'1e400'",
        ],
    ),
    ("jsonpath", &["'$.a[*] ? (@ > 1)'"]),
    ("point", &["'(1.5,-2)'", "'(NaN,Infinity)'"]),
    ("line", &["'{1,-1,0}'"]),
    ("lseg", &["'[(0,0),(1,1)]'"]),
    ("box", &["'(2,2),(0,0)'"]),
    ("path", &["'[(0,0),(1,1)]'", "'((0,0),(1,1),(2,0))'"]),
    ("polygon", &["'((0,0),(1,1),(2,0))'"]),
    ("circle", &["'<(1,2),3.5>'"]),
    ("tsvector", &["'''it''''s'':1A fat:2B,3'", "''"]),
    ("tsquery", &["'fat & (rat | !cat:AB) <2> dog'", "''"]),
    (
        "integer[]",
        &[
            "'{}'",
            "'[2:4]={1,NULL,3}'",
            "'{{1,2},{3,4}}'",
            "'[-1:0][5:5]={{1},{2}}'",
        ],
    ),
    (
        "text[]",
        &[r#"ARRAY['NULL', NULL, '', 'a,b', '"', '\', '{}', E'\n']"#],
    ),
    ("int4range", &["'empty'", "'(,)'", "'[1,5)'"]),
    ("numrange", &["'(1.50,2.5]'", "'[NaN,NaN]'"]),
    ("tstzrange", &["'[-infinity,infinity)'"]),
    ("daterange", &["'[2024-01-01,)'"]),
    ("int8multirange", &["'{}'", "'{[1,3),[5,9)}'"]),
    ("oid", &["4294967295"]),
    (
        "regclass",
        &[
            "'pg_class'",
            "'edge.\"Odd Name\"'",
            "4294967295::oid::regclass",
        ],
    ),
    ("regtype", &["'integer[]'"]),
    ("regproc", &["'pg_backend_pid'"]),
    ("regprocedure", &["'length(text)'"]),
    ("regoperator", &["'+(integer,integer)'"]),
    ("regnamespace", &["'pg_catalog'"]),
    ("regconfig", &["'simple'"]),
    ("regoper", &["'||/'"]),
    ("regrole", &["'postgres'"]),
    ("regdictionary", &["'simple'"]),
    ("regcollation", &["'\"C\"'"]),
    ("tsrange", &["'[-infinity,infinity]'", "'empty'"]),
    ("int8range", &["'(,5]'"]),
    ("int4multirange", &["'{(,1),[3,)}'"]),
    ("nummultirange", &["'{[1.10,2.0)}'"]),
    ("tsmultirange", &["'{[2024-01-01,2024-01-02)}'"]),
    ("tstzmultirange", &["'{[2024-01-01 00:00+05:30,infinity)}'"]),
    ("datemultirange", &["'{[2024-01-01,)}'"]),
    ("information_schema.cardinal_number", &["7"]),
    ("information_schema.character_data", &["'it''s'"]),
    ("information_schema.sql_identifier", &["'a name'"]),
    (
        "information_schema.time_stamp",
        &["'2024-02-29 12:00:00.25+00'"],
    ),
    ("information_schema.yes_or_no", &["'YES'"]),
    ("xid", &["'4294967295'"]),
    ("xid8", &["'18446744073709551615'"]),
    ("cid", &["'7'"]),
    ("tid", &["'(4294967295,65535)'"]),
    ("pg_lsn", &["'FFFFFFFF/FFFFFFFF'", "'0/0'"]),
    ("pg_snapshot", &["'10:20:10,14,15'"]),
    ("txid_snapshot", &["'10:20:10,14,15'"]),
    ("int2vector", &["'1 2 3'", "''"]),
    ("oidvector", &["'1 2 3'"]),
    ("refcursor", &["'portal'"]),
    ("aclitem", &["'postgres=r/postgres'"]),
    ("edge.mood", &["'sad'", r"E'it''s \\ odd'"]),
    ("edge.mood[]", &[r#"'{sad,"it''s \\ odd"}'"#]),
    (
        "edge.pair",
        &[
            "ROW(NULL, NULL)",
            r"ROW(1, E'a,\n\\(\)''\'\'')",
            "ROW(2, '')",
        ],
    ),
    ("edge.pair[]", &["ARRAY[ROW(1, 'x'), NULL]::edge.pair[]"]),
    ("edge.positive", &["1"]),
    (
        "edge.nested",
        &[
            r#"ROW(ROW(1, E'a\\",b\'')::edge.pair, ARRAY[ROW(NULL, ''), NULL]::edge.pair[], '{sad}')"#,
            "ROW(NULL, NULL, NULL)",
        ],
    ),
    (
        "edge.pairs",
        &["ROW(ARRAY[ROW(1, 'x')::edge.pair], '[1,2)')"],
    ),
    ("edge.span", &["'[a,z)'"]),
];

pub const PREPARATION: &str = r#"
CREATE SCHEMA edge;
CREATE TABLE edge."Odd Name" ("Odd Column" int PRIMARY KEY);
CREATE TYPE edge.mood AS ENUM ('sad', 'it''s \ odd', 'ok');
CREATE TYPE edge.pair AS (a int, b text);
CREATE DOMAIN edge.positive AS int CHECK (VALUE > 0);
CREATE TYPE edge.span AS RANGE (subtype = text, multirange_type_name = edge.spans);
CREATE TYPE edge.nested AS (one edge.pair, many edge.pair[], moods edge.mood[]);
CREATE TYPE edge.pairs AS (items edge.pair[], span int4range);
"#;

/// Types of contrib extensions, each made by the extension in front.
pub const EXTENSIONS: &[(&str, &str, &[&str])] = &[
    (
        "hstore",
        "hstore",
        &[r#"'a=>1, "b c"=>NULL, d=>"\"\\"'"#, "''"],
    ),
    ("citext", "citext", &["'MiXed'", "''"]),
    ("ltree", "ltree", &["'Top.Science.2'", "''"]),
    ("ltree", "lquery", &["'*.A@|b*{1,2}.!c'"]),
    ("ltree", "ltxtquery", &["'Top@ & !(b | c*)'"]),
    ("cube", "cube", &["'(1,2.5),(-0,1e300)'", "'(0.1)'"]),
    (
        "isn",
        "isbn13",
        &["'978-0-11-000533-1'", "'978-0-11-000533-5!'"],
    ),
    ("isn", "isbn", &["'0-393-04002-X'"]),
    ("isn", "ean13", &["'978-0-393-04002-9'"]),
    ("isn", "issn", &["'1436-4522'"]),
    ("isn", "ismn", &["'M-060-11561-5'"]),
    ("isn", "upc", &["'220356483481'"]),
    (
        "seg",
        "seg",
        &["'1.50 .. 2'", "'~1.5'", "'5(+-)0.3'", "'<6.50'", "'3 ..'"],
    ),
    ("intarray", "query_int", &["'1&(2|!3)'"]),
    ("pg_trgm", "text", &["'nothing of its own'"]),
];

/// Types whose values SQL cannot make, or only the server itself.
pub const INTERNAL: &[&str] = &[
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
];
