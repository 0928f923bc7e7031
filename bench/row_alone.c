/*
 * A row for each statement of DDL, and nothing else: the floor of recording it.
 *
 * In front of the statement one row as long as ours goes into the table public.row_alone, with its key,
 * as the catalogs' own rows do. No name is looked up, no object is noted, no event trigger is there.
 * tools/bench.sh builds it for the server that is measured.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

#define COLUMNS 12

static ProcessUtility_hook_type previous;

static void
write_row(const char *query)
{
	static Oid	table = InvalidOid;
	static uint64 written = 0;
	Relation	relation;
	HeapTuple	tuple;
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS] = {0};
	uint64		transaction;

	if (!OidIsValid(table))
		table = get_relname_relid("row_alone", PG_PUBLIC_NAMESPACE);
	if (!OidIsValid(table))
		return;
	transaction = U64FromFullTransactionId(GetTopFullTransactionId());
	relation = table_open(table, RowExclusiveLock);
	values[0] = UInt64GetDatum(transaction * 1000000 + ++written);
	values[1] = values[0];
	values[2] = UInt64GetDatum(transaction);
	values[3] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[4] = CStringGetTextDatum("postgres");
	values[5] = CStringGetTextDatum("CREATE TABLE");
	values[6] = CStringGetTextDatum("table");
	values[7] = CStringGetTextDatum("public.given_100");
	values[8] = CStringGetTextDatum(query);
	values[9] = CStringGetTextDatum("\"$user\", public");
	values[10] = BoolGetDatum(true);
	values[11] = BoolGetDatum(true);
	tuple = heap_form_tuple(RelationGetDescr(relation), values, nulls);
	CatalogTupleInsert(relation, tuple);
	heap_freetuple(tuple);
	table_close(relation, NoLock);
	CommandCounterIncrement();
}

static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest,
				QueryCompletion *completion)
{
	switch (nodeTag(pstmt->utilityStmt))
	{
		case T_CreateStmt:
		case T_AlterTableStmt:
		case T_IndexStmt:
		case T_CreateFunctionStmt:
		case T_GrantStmt:
		case T_CommentStmt:
			if (context != PROCESS_UTILITY_SUBCOMMAND)
				write_row(query);
			break;
		default:
			break;
	}
	if (previous)
		previous(pstmt, query, read_only_tree, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest, completion);
}

void
_PG_init(void)
{
	previous = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
