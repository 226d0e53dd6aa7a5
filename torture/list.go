package main

import (
	"maps"
	"slices"
)

// faults are all that this program makes, in order.
func faults() []Fault {
	return []Fault{
		control, killAtRandom, killBigStore, killAtSyscall, betweenLogs, ackAfterSync, powerCut, powerCutDisk,
		syncFails,
		diskFull, inodesFull, logDamage, bitRot, allOrNothing, modelKills, uidReuse, outboundGap, inboundGap,
		clockJump, poison, slowDisk,
		slowloris, connectFlood, fdsExhausted, smallMemory, handshakes, badLogins, hotMailbox, backlog,
		slowRemotes, namesLost, expensive, leaks, drain, logStorm,
	}
}

// notHere says of each fault that is not made here where it is made, or what it waits for.
var notHere = map[string]string{
	"D4": "made in the process, on a file system in memory that forgets what was not synced: " +
		"internal/kv, internal/store, internal/queue and mailtest",
	"D1, D2, O1, O13 over JMAP, ManageSieve": "not yet there: these doors",
	"D1, D2 over POP3": "made over SMTP and IMAP: POP3 takes no mail, and what it deletes goes in the " +
		"same transactions",
	"D17 for second factors":               "not yet there: TOTP",
	"D20 with a second folder for the log": "not yet there",
	"D16":                                  "not yet there: JMAP",
	"D18":                                  "not yet there: there is no older format of the data to come from",
	"O8": "made in the process, with a clock that the test moves: " +
		"internal/spam and mailtest",
	"O15": "made in the process, over real connections: " +
		"internal/scan and mailtest",
}

// elsewhere lists notHere in order.
func elsewhere() []string { return slices.Sorted(maps.Keys(notHere)) }
