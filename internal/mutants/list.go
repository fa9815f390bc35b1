package main

// A mutant is the code with one guard broken, as somebody might break it who means well. The
// tests that are named with it have to notice.
type mutant struct {
	name     string // what is broken
	why      string // what comes of it
	file     string // from the root of the module
	old, new string // one line, or a part of one that stands in the file once
	pkg      string // whose tests are run
	run      string // which: for -run
}

var list = []mutant{
	// What a key is.
	{"the due check is dropped", "a key whose date has come works until it is purged",
		"state.go", "case f.destroyed || f.due(now):", "case f.destroyed:", ".", "TestDeletionInstant|TestPurge$/Memory"},
	{"due after the date, and not at it", "< for <=: a key lives an instant too long",
		"state.go", "!now.Before(f.deleteAt)", "now.After(f.deleteAt)", ".", "TestDeletionInstant|TestPurge$/Memory"},
	{"protection is forgotten", "a protected key is scheduled",
		"guard.go", "if row.blocks && r.Protected {", "if false {", ".", "TestBlockers|TestExplainAgrees"},
	{"one dependent is forgotten", "> 1 for > 0: a key that somebody needs is scheduled",
		"guard.go", "len(r.Dependents) > 0", "len(r.Dependents) > 1", ".", "TestBlockers|TestDependents"},
	{"read-only is not checked", "anybody changes the key of a service",
		"guard.go", "(row.kind == changing && !r.changedBy(c.service)) ||", "", ".", "TestServiceKeysAreReadOnly"},
	{"a date is forgotten by timed", "what was decided once outlives the end of the material",
		"guard.go", "!r.MaterialUntil.IsZero() || ", "", ".", "TestStanding"},
	{"the grace is a day longer", "keys of an instance are gone later than was said",
		"instance_record.go", "rec.ExpiresAt.Add(GraceDays * 24 * time.Hour)", "rec.ExpiresAt.Add((GraceDays + 1) * 24 * time.Hour)", ".", "TestInstanceEdges|TestRenewInstance"},

	// Who may, and under which name.
	{"Authorize is asked after the read", "who is denied learns what the store says",
		"lookup.go", "denied := c.authorize(ctx, Request{KeyID: c.keyID, Alias: alias, EncryptionContext: ec})",
		"if _, err := m.fetch(ctx, c, id); err != nil { return id, err }; denied := c.authorize(ctx, Request{KeyID: c.keyID, Alias: alias, EncryptionContext: ec})",
		".", "TestEveryCallIsAuthorized"},
	{"the prefix of services is not reserved", "anybody takes the alias of a service to come",
		"alias.go", "case strings.HasPrefix(alias, reservedAliases):", "case false:", ".", "TestAliasNames|TestServiceKeysAreReadOnly"},
	{"the alias of a deleted key is taken", "a name is lost with its key",
		"alias.go", "return e.record.state(ie, c.now()) != Deleted, nil", "return e.record.state(ie, c.now()) != stateNone, nil", ".", "TestAliasGoesWithItsKey"},

	// What stands in the store, and what is remembered of it.
	{"the MAC of records is skipped", "who can write to the store decides",
		"internal/sealing/item.go", "return body, hmac.Equal(mac, k.mac(name, prefix(k.id), body))", "_ = mac; return body, true", ".", "TestTamperedRecord|TestTamperedAlias"},
	{"the mark of the cache is forgotten", "what was read before a change is kept after it",
		"internal/fresh/cache.go", "if c.Mark(key) != mark {", "if false {", ".", "TestSlowReader|TestChangesFromManySides"},
	{"the lease counts from the answer", "a slow store makes a change be obeyed too late",
		"internal/fresh/follower.go", "f.asked.Store(&now)", "now = f.clock(); f.asked.Store(&now)", ".", "TestSlowFeed|TestSlowStore"},
	{"an answer that was lost is taken for yes", "what was refused by the disk is told to be done",
		"update.go", "return outcomeUnknown(op, keyID, err)", "return nil", "./internal/systemtest/faults", "TestStoreFaults"},
	{"an allowance counts one for many", "a hardware key encrypts oftener than its nonces allow",
		"allowance.go", "rec.Versions[v.version] = given + n", "rec.Versions[v.version] = given + 1", ".", "TestAllowance"},
	{"an allowance is used that was not written", "a process that dies, or whose store fails, forgets what it used",
		"allowance.go", "return c.storeFailed(c.keyID, err)", "return nil", ".", "TestAllowanceStore|TestAllowanceSurvives"},
	{"the version of a store comes again", "of two writers that read the same both win",
		"keystore/memory.go", "m.puts++", "m.puts = uint64(len(m.items)) + 1", "./keystore", "TestMemory"},
	{"a file swaps without comparing", "a change that was acknowledged is overwritten",
		"keystore/boltstore/commit.go", "if versionOf(current) != p.old {", "if versionOf(current) != p.old && current == nil {", "./keystore/boltstore", "TestConformance"},
	{"a table swaps without comparing", "a change that was acknowledged is overwritten",
		"keystore/pgstore/statements.go", "ON item.name = want.name AND item.version = want.old", "ON item.name = want.name", "./keystore/pgstore", "TestConformance"},

	// What time does.
	{"a purge waits for nothing", "a clock that is wrong for an hour destroys keys",
		"maintain.go", "c.now().Sub(r.DueSeenAt) < m.purgeDelay", "c.now().Sub(r.DueSeenAt) < 0", ".", "TestPurge$/Memory|TestClockThatJumped/Memory"},
	{"Maintain purges at first sight", "nobody sees the date passed before the key is destroyed",
		"maintain.go", "case due && !noted && m.purgeDelay > 0:", "case due && !noted && m.purgeDelay > 1<<62:", ".", "TestPurge$/Memory|TestClockThatJumped/Memory"},

	// What is brought in, and back.
	{"the end of an import token is ignored", "a token that was stolen works for ever",
		"material.go", "if !c.now().Before(t.ExpiresAt) {", "if false {", ".", "TestImportToken"},
	{"other material is imported", "what was encrypted is unreadable, and nobody is told",
		"import_binding.go", "if !hmac.Equal(r.Fingerprint, fingerprint(shred, r.ID, r.Spec, identity)) {", "if false {", ".", "TestSameMaterialOnly|TestWrongMaterial"},
	{"the shred secret is the same everywhere", "the owner's copy of the material opens a deleted key's data",
		"import_binding.go", "shred = randomBytes(32)", "shred = make([]byte, 32)", ".", "TestOwnerAfterDeletion|TestSameMaterialInTwoKeys"},
	{"a tombstone is not final in a restore", "an old backup brings back what was deleted",
		"restore_key.go", "case !tomb && (gone || rs.buried[r.ID]):", "case !tomb && rs.buried[r.ID]:", ".", "TestRestoreTombstones|TestRestoreHistories|TestRestoreIntoALivingInstance"},
	{"a restore merges to the laxer side", "an old backup enables what was disabled",
		"restore_key.go", "suspend := b.Disabled", "suspend := false", ".", "TestRestoreHistories|TestRestoreForks|TestRestoreIntoALivingInstance"},

	// Cryptography.
	{"the encryption context is not bound", "a ciphertext opens in another's place",
		"internal/wire/bind.go", "if len(context) == 0 {\n\t\treturn Bound{", "if len(context) >= 0 {\n\t\treturn Bound{", ".", "TestCiphertextIsBound|TestRoundTrip"},
	{"zeros are not looked for in software", "one ciphertext opens under two keys",
		"software/commitment.go", "if !zeros([commitmentSize]byte(padded)) {", "if false {", "./software", "TestCommitment"},
	{"zeros are not looked for in a token", "one ciphertext opens under two keys",
		"hsm/aes.go", "|| subtle.ConstantTimeCompare(padded[:commitmentSize], zeros[:]) != 1", "|| subtle.ConstantTimeCompare(zeros[:], zeros[:]) != 1", ".", "TestCollisionsOnEveryPath"},
	{"the padding of a wrapped key is not looked at", "what was not wrapped so is taken for a key",
		"internal/kwp/kwp.go", "bad |= uint64(b[len(b)-1-int(i)]) & within", "_ = within", "./internal/kwp", "TestWycheproof|TestVectors|TestHeader"},

	// What a refusal says.
	{"a context that has ended lets a call in", "what its end does depends on what is in memory",
		"call.go", "if ctx != nil && c.m.store != nil && ctx.Err() == nil {", "if ctx != nil && c.m.store != nil {", ".", "TestEndedContext"},
	{"what a context ended is an outage", "a client that hangs up raises an alarm",
		"call.go", "*err = ended(ctx, *err)", "_ = ended(ctx, *err)", ".", "TestContextEndsWithin"},
	{"an expired instance is an outage", "a program waits for what only the owner can renew",
		"errors.go", "if you may need its keys later.\", nil}", "if you may need its keys later.\", ErrUnavailable}", ".", "TestConditionsComplete"},
	{"another token is reported as gone", "the operator looks for a copy of a key that is well",
		"hsm/find.go", "if err := s.see(r.witness); err != nil {", "if err := s.see(s.g.witness); err != nil {", "./hsm", "TestAnotherToken"},
	{"an alias in memory costs a denied caller nothing", "time tells which aliases there are",
		"lookup.go", "if denied != nil && alias != \"\" && !read {", "if denied == nil && !read {", ".", "TestDeniedCallersCostTheSame"},
}
