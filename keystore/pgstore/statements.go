package pgstore

import (
	"strings"

	"github.com/jackc/pgx/v5"
)

// statements are all that is ever sent. The name of the table is quoted; all else that
// varies is a parameter.
type statements struct {
	probe, create, index, begin string
	get, list, changes, update  string
	insertOne, insert           string
	which, listen               string
}

// format is what the row about the table says.
const format = "keyhold 1"

// The row about the table is called "#", and that of a feed "+" and the segment. No item's
// name has those bytes, and all sort after them.
const (
	about   = "#"
	noItems = "+~" // sorts after all rows that are no items
)

// The position of a feed in the outside world is the server's timeline, which a failover
// makes grow, and the position in the table, so that a follower takes nothing that one
// primary said for what another would.
const (
	positionBits = 40
	timeline     = `CASE WHEN pg_is_in_recovery() THEN 0
		ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint END`
)

// statementsFor are those for a table. Channel is empty where the server has no NOTIFY.
func statementsFor(table pgx.Identifier, channel string, timelines bool) statements {
	fill := strings.NewReplacer(
		"TABLE_NAME", table.Sanitize(),
		"CHANNEL_NAME", pgx.Identifier{channel}.Sanitize(),
		"TIMELINE", pick(timelines, timeline, "0::bigint"),
		"TELL", pick(channel != "", "pg_notify($6, $5) IS NULL", "$6::text IS NULL"),
	).Replace
	return statements{
		probe: fill(`SELECT version FROM TABLE_NAME WHERE name = $1`),
		create: fill(`CREATE TABLE TABLE_NAME (
			name     text COLLATE "C" PRIMARY KEY,
			version  text NOT NULL,
			value    bytea NOT NULL,
			feed     text COLLATE "C", -- the segment, once the value was replaced
			position bigint            -- in the feed
		)`),
		index: fill(`CREATE INDEX ON TABLE_NAME (feed, position) WHERE feed IS NOT NULL`),
		begin: fill(`INSERT INTO TABLE_NAME (name, version, value) VALUES ($1, $2, '')`),

		get: fill(`SELECT standby, version, value FROM (SELECT pg_is_in_recovery() AS standby) AS server
			LEFT JOIN TABLE_NAME ON name = $1`),
		// A page ends with the item that makes it large. Lengths are read without the values.
		list: fill(`SELECT standby, last, name, version, value FROM (SELECT pg_is_in_recovery() AS standby,
				coalesce((SELECT max(name) FROM TABLE_NAME WHERE name > $1 AND name >= $2 AND name < $3), '') AS last) AS server
			LEFT JOIN (
				SELECT *, sum(octet_length(value)) OVER (ORDER BY name) - octet_length(value) AS before
				FROM (SELECT name, version, value FROM TABLE_NAME
					WHERE name > $1 AND name >= $2 AND name < $3 ORDER BY name LIMIT $4) AS rows
			) AS page ON before < $5
			ORDER BY name`),
		changes: fill(`SELECT pg_is_in_recovery(), TIMELINE,
			coalesce((SELECT position FROM TABLE_NAME WHERE name = '+' || $1), 0),
			ARRAY(SELECT name FROM TABLE_NAME WHERE feed = $1 AND position > $2 LIMIT $3)`),

		// The usual case of a writer alone: a row needs no set to be read from.
		insertOne: fill(`INSERT INTO TABLE_NAME (name, version, value) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO NOTHING RETURNING name`),
		// Names come sorted, so that those who write the same ones do not wait for each other in a
		// circle.
		insert: fill(`INSERT INTO TABLE_NAME (name, version, value)
			SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[])
			ON CONFLICT (name) DO NOTHING RETURNING name`),
		// All items are locked before the feed is, and the feed until the commit: so the order of
		// the feed is the order of the commits. The count is there to lock all.
		update: fill(`WITH want AS (
			SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) AS w (name, old, new, value)
		), swap AS (
			SELECT want.* FROM want JOIN TABLE_NAME AS item ON item.name = want.name AND item.version = want.old
			ORDER BY item.name FOR UPDATE OF item
		), head AS (
			INSERT INTO TABLE_NAME AS feed (name, version, value, position)
			SELECT '+' || $5, '', '', 1 WHERE (SELECT count(*) FROM swap) > 0
			ON CONFLICT (name) DO UPDATE SET position = feed.position + 1 RETURNING position
		), done AS (
			UPDATE TABLE_NAME AS item SET version = swap.new, value = swap.value, feed = $5, position = (SELECT position FROM head)
			FROM swap WHERE item.name = swap.name RETURNING item.name
		) SELECT name, TELL FROM done`),
		which:  fill(`SELECT name, version FROM TABLE_NAME WHERE name = ANY($1)`),
		listen: fill(`LISTEN CHANNEL_NAME`),
	}
}

func pick(yes bool, then, otherwise string) string {
	if yes {
		return then
	}
	return otherwise
}
