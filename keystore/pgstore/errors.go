package pgstore

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// What a Store of this package answers beyond the errors of package keystore.
var (
	// ErrStandby: the server is a standby, which may lag behind, or takes no writes.
	// Connect to the primary: target_session_attrs=read-write in the connection string
	// finds it among several hosts.
	ErrStandby = errors.New("pgstore: the server is a standby")

	// ErrNotDurable: the server or the role has fsync or synchronous_commit off, so that
	// what is acknowledged could be lost.
	ErrNotDurable = errors.New("pgstore: fsync or synchronous_commit is off")

	// ErrForeign: the table belongs to another program, or to a version of this package
	// that is newer than its format.
	ErrForeign = errors.New("pgstore: the table belongs to another program")

	// ErrNoTable: there is no table of that name, and Options.Create does not say to make one.
	ErrNoTable = errors.New("pgstore: there is no such table; Options.Create makes the table of a new store")

	// ErrConfig: the connection string cannot be read, or asks for the simple protocol; or
	// a name in Options is longer than PostgreSQL's 63 bytes, or has a zero byte. Its text
	// repeats nothing of what was given.
	ErrConfig = errors.New("pgstore: the connection string or a name cannot be used")
)

// A kind says what an error means for the statement that was sent.
type kind int

const (
	refused kind = iota // the server answered, and would answer so again
	undone              // the server took it back, and may not do so the next time
	broken              // nobody knows: the connection broke, or the server went down
)

func kindOf(err error) kind {
	var answer *pgconn.PgError
	switch {
	case errors.Is(err, ErrStandby), errors.Is(err, ErrNotDurable), errors.Is(err, ErrForeign), errors.Is(err, ErrNoTable):
		return refused
	case !errors.As(err, &answer):
		return broken
	}
	switch class := answer.Code[:min(2, len(answer.Code))]; {
	case answer.Code == "40003": // statement_completion_unknown
		return broken
	case class == "40": // a deadlock, or not serializable
		return undone
	case class == "08", class == "57" && answer.Code != "57014": // going down or coming up, and not cancelled
		return broken
	default:
		return refused
	}
}

// wasSent tells whether a statement may have reached the server.
func wasSent(err error) bool {
	var connecting *pgconn.ConnectError
	return !errors.As(err, &connecting) && !pgconn.SafeToRetry(err)
}

// told says where an error came from, and gives that of a standby its name.
func told(what string, err error) error {
	if isCode(err, "25006") { // read_only_sql_transaction
		err = errors.Join(ErrStandby, err)
	}
	return fmt.Errorf("pgstore: %s: %w", what, err)
}

func isCode(err error, code string) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && answer.Code == code
}
