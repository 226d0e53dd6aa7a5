package main

// A row is a figure of a test that the comparison shows.
type row struct {
	test, key, label string
	less             bool // less is better
	bar              bool // is drawn
}

// rows are what the comparison with a peer shows; all other figures are in the table of details.
var rows = []row{
	{"4k", "delivered_per_s", "4 kB in: delivered/s", false, true},
	{"4k", "ack_p50_ms", "4 kB in: 250 after, median ms", true, false},
	{"4k", "ack_p99_ms", "4 kB in: 250 after, p99 ms", true, false},
	{"4k", "cpu_s_per_1k", "4 kB in: CPU s per 1,000", true, false},
	{"4k", "cpu_settled_s_per_1k", "4 kB in: CPU s per 1,000, index included", true, true},
	{"mix", "delivered_per_s", "mix in: delivered/s", false, true},
	{"mix", "delivered_mb_per_s", "mix in: MB/s", false, false},
	{"mix", "ack_p50_ms", "mix in: 250 after, median ms", true, true},
	{"mix", "ack_p99_ms", "mix in: 250 after, p99 ms", true, true},
	{"mix", "cpu_s_per_1k", "mix in: CPU s per 1,000", true, false},
	{"mix", "cpu_settled_s_per_1k", "mix in: CPU s per 1,000, index included", true, true},
	{"1m", "delivered_mb_per_s", "1 MB in: MB/s", false, true},
	{"1m", "cpu_settled_s_per_1k", "1 MB in: CPU s per 1,000, index included", true, false},
	{"perconn", "delivered_per_s", "connection each: delivered/s", false, true},
	{"perconn", "cpu_s_per_1k", "connection each: CPU s per 1,000", true, false},
	{"perconn-tls", "delivered_per_s", "STARTTLS each: delivered/s", false, true},
	{"perconn-tls", "cpu_s_per_1k", "STARTTLS each: CPU s per 1,000", true, true},
	{"perconn-x25519", "delivered_per_s", "STARTTLS each, X25519: delivered/s", false, true},
	{"perconn-x25519", "cpu_s_per_1k", "STARTTLS each, X25519: CPU s per 1,000", true, true},
	{"syncs", "syncs_per_message", "syncs per message under load", true, true},
	{"syncs64", "syncs_per_message", "syncs per message, 64 sessions", true, false},
	{"relay", "relayed_per_s", "relay: relayed/s", false, true},
	{"relay", "cpu_s_per_1k", "relay: CPU s per 1,000", true, true},
	{"append", "append_per_s", "APPEND one by one: /s", false, true},
	{"append", "append_p50_ms", "APPEND: median ms", true, false},
	{"append", "append_p99_ms", "APPEND: p99 ms", true, false},
	{"append", "cpu_s_per_1k", "APPEND: CPU s per 1,000", true, true},
	{"append", "cpu_settled_s_per_1k", "APPEND: CPU s per 1,000, index included", true, false},
	{"noop", "ops_per_s", "10 clients, NOOP alone: /s", false, false},
	{"noop", "cpu_s_per_1k", "10 clients, NOOP alone: CPU s per 1,000", true, false},
	{"pop3", "retr_per_s", "10 POP3 clients: RETR/s", false, true},
	{"pop3", "retr_p50_ms", "POP3: RETR, median ms", true, false},
	{"pop3", "cpu_s_per_1k", "POP3: CPU s per 1,000 RETR", true, true},
	{"mixed", "ops_per_s", "10 mixed clients: operations/s", false, true},
	{"mixed", "cpu_s_per_1k", "10 mixed clients: CPU s per 1,000", true, true},
	{"mixed", "fetch_body_p50_ms", "mixed: FETCH body, median ms", true, false},
	{"mixed", "fetch_body_p99_ms", "mixed: FETCH body, p99 ms", true, false},
	{"mixed", "store_p50_ms", "mixed: STORE, median ms", true, false},
	{"mixed", "append_p50_ms", "mixed: APPEND, median ms", true, false},
	{"mixed", "select_p50_ms", "mixed: SELECT, median ms", true, false},
	{"mixed", "search_p50_ms", "mixed: SEARCH, median ms", true, false},
	{"mixed", "expunge_p50_ms", "mixed: STORE and EXPUNGE, median ms", true, false},
	{"fill10k", "fill_per_s", "MULTIAPPEND of 10,000: /s", false, true},
	{"fill10k", "index_s", "MULTIAPPEND of 10,000: then busy for s", true, false},
	{"fill10k", "cpu_settled_s_per_1k", "MULTIAPPEND of 10,000: CPU s per 1,000, index included", true, false},
	{"sync10k", "select_ms", "10,000: SELECT ms", true, true},
	{"sync10k", "list_ms", "10,000: list ms", true, true},
	{"sync10k", "list_cpu_s", "10,000: list, CPU s", true, false},
	{"sync10k", "bodies_per_s", "10,000: bodies, first time since the start, /s", false, true},
	{"sync10k", "bodies_cpu_s", "10,000: bodies, first time, CPU s", true, false},
	{"sync10k", "bodies_again_per_s", "10,000: bodies again/s", false, false},
	{"sync10k", "bodies_again_cpu_s", "10,000: bodies again, CPU s", true, false},
	{"sync10k", "resync_ms", "10,000: resync ms", true, true},
	{"search10k", "first_1_body_ms", "10,000: BODY, 1 in 1,000, ms", true, true},
	{"search10k", "first_2_text_ms", "10,000: TEXT Vietnamese, ms", true, true},
	{"search10k", "first_3_subject_ms", "10,000: SUBJECT ms", true, true},
	{"search10k", "first_4_subject_ms", "10,000: SUBJECT Vietnamese, ms", true, false},
	{"search10k", "first_5_body_ms", "10,000: BODY, no hit, ms", true, false},
	{"search10k", "again_1_body_ms", "10,000: BODY again, ms", true, false},
	{"search10k", "again_2_text_ms", "10,000: TEXT Vietnamese again, ms", true, false},
	{"search10k", "again_3_subject_ms", "10,000: SUBJECT again, ms", true, false},
	{"notes", "fill_per_s", "MULTIAPPEND of 100,000 notes: /s", false, false},
	{"notes", "cpu_s_per_1k", "MULTIAPPEND of 100,000 notes: CPU s per 1,000", true, false},
	{"lists", "flags_ms", "100,000 notes: FETCH flags, ms", true, false},
	{"lists", "flags_cpu_s", "100,000 notes: FETCH flags, CPU s", true, true},
	{"lists", "envelopes_ms", "100,000 notes: FETCH envelopes, ms", true, false},
	{"lists", "envelopes_cpu_s", "100,000 notes: FETCH envelopes, CPU s", true, true},
	{"lists", "envelopes_again_cpu_s", "100,000 notes: FETCH envelopes again, CPU s", true, false},
	{"finds", "unseen_p50_ms", "100,000 notes: SEARCH UNSEEN, median ms", true, false},
	{"finds", "unseen_cpu_ms", "100,000 notes: SEARCH UNSEEN, CPU ms", true, true},
	{"finds", "date_p50_ms", "100,000 notes: SEARCH by date, median ms", true, true},
	{"finds", "size_p50_ms", "100,000 notes: SEARCH by size, median ms", true, true},
	{"finds", "seen_since_p50_ms", "100,000 notes: SEARCH by all three, median ms", true, false},
	{"finds", "sent_first_ms", "100,000 notes: SEARCH SENTSINCE, first, ms", true, false},
	{"finds", "sent_p50_ms", "100,000 notes: SEARCH SENTSINCE again, median ms", true, false},
	{"bulky", "bodies_mb_per_cpu_s", "4 kB to 1 MB: bodies first, MB per CPU s", false, true},
	{"bulky", "again_mb_per_cpu_s", "4 kB to 1 MB: bodies again, MB per CPU s", false, true},
	{"bulky", "bodies_mb_per_s", "4 kB to 1 MB: bodies first, MB/s", false, false},
	{"bulky", "again_mb_per_s", "4 kB to 1 MB: bodies again, MB/s", false, false},
	{"bulk", "move_ms", "MOVE of 50,000: ms", true, true},
	{"bulk", "move_cpu_s", "MOVE of 50,000: CPU s", true, false},
	{"bulk", "expunge_ms", "EXPUNGE of 50,000: ms", true, true},
	{"bulk", "expunge_cpu_s", "EXPUNGE of 50,000: CPU s", true, false},
	{"bulk", "expunge_own_noop_p99_ms", "meanwhile, same account: NOOP p99 ms", true, false},
	{"bulk", "expunge_own_fetch_p99_ms", "meanwhile, same account: FETCH p99 ms", true, false},
	{"bulk", "expunge_other_noop_p99_ms", "meanwhile, other account: NOOP p99 ms", true, false},
	{"bulk", "expunge_other_fetch_p99_ms", "meanwhile, other account: FETCH p99 ms", true, false},
	{"fill100k", "fill_per_s", "MULTIAPPEND of 100,000: /s", false, false},
	{"fill100k", "index_s", "MULTIAPPEND of 100,000: then busy for s", true, false},
	{"sync100k", "select_ms", "100,000: SELECT ms", true, true},
	{"sync100k", "list_ms", "100,000: list ms", true, true},
	{"sync100k", "resync_ms", "100,000: resync ms", true, true},
	{"search100k", "first_1_body_ms", "100,000: BODY, 1 in 1,000, ms", true, true},
	{"search100k", "first_2_text_ms", "100,000: TEXT Vietnamese, ms", true, true},
	{"search100k", "first_3_subject_ms", "100,000: SUBJECT ms", true, true},
	{"search100k", "first_4_subject_ms", "100,000: SUBJECT Vietnamese, ms", true, false},
	{"search100k", "first_5_body_ms", "100,000: BODY, no hit, ms", true, false},
	{"idle1k", "logins_per_s", "1,000 idle over TLS: log-ins/s", false, false},
	{"idle1k", "kib_each_growth", "1,000 idle: memory growth, KiB each", true, true},
	{"idle1k", "kib_each_more", "1,000 idle: each after the first 100, KiB", true, true},
	{"idle1k", "kib_each_all", "1,000 idle: whole memory, KiB each", true, true},
	{"idle1k", "told_all_ms", "1,000 idle: all told of new mail, ms", true, true},
	{"idle10k", "logins_per_s", "10,000 idle over TLS: log-ins/s", false, false},
	{"idle10k", "kib_each_growth", "10,000 idle: memory growth, KiB each", true, true},
	{"idle10k", "kib_each_more", "10,000 idle: each after the first 1,000, KiB", true, true},
	{"idle10k", "kib_each_all", "10,000 idle: whole memory, KiB each", true, true},
	{"idle10k", "told_all_ms", "10,000 idle: all told of new mail, ms", true, true},
	{"login", "first_ms", "first log-in of a user over TLS, ms", true, true},
	{"login", "first_cpu_ms", "first log-in: CPU ms", true, false},
	{"login", "again_ms", "log-in again, ms", true, true},
	{"login", "again_cpu_ms", "log-in again: CPU ms", true, false},
	{"startup", "ready_ms", "start until both doors greet, ms", true, true},
	{"startup", "rest_mib", "memory at rest, MiB", true, true},
}

// besideFresh are the lines of a load that a fresh server was given in turn: 1 is a cost that does not
// grow.
var besideFresh = [][2]string{
	{"delivered_per_s_of_fresh", "messages/s"}, {"ack_p50_ms_of_fresh", "250 after, median"},
	{"ack_p99_ms_of_fresh", "250 after, p99"}, {"cpu_s_per_1k_of_fresh", "CPU"},
}

// drawings are the plots of growth: lines with their names over the size of a subject.
var drawings = []struct {
	file, subject, title, y string
	linear                  bool
	lines                   [][2]string // key and name
}{
	{"mailbox-time", "mailbox", "One mailbox grows: time of a command", "ms", false, [][2]string{
		{"select_first_ms", "first SELECT after a start"}, {"select_ms", "SELECT"},
		{"list_50_ms", "list the newest 50"},
		{"fetch_one_ms", "FETCH one body"}, {"store_ms", "STORE"}, {"append_ms", "APPEND and EXPUNGE"},
		{"resync_ms", "resync"}}},
	{"mailbox-search", "mailbox", "One mailbox grows: time of a search", "ms", false, [][2]string{
		{"search_1_body_ms", "BODY, 1 in 1,000"}, {"search_2_text_ms", "TEXT Vietnamese, 1 in 500"},
		{"search_3_subject_ms", "SUBJECT, 1 in 250"}, {"search_5_body_ms", "BODY, no hit"}}},
	{"mailbox-delivery", "mailbox", "One mailbox grows: delivery into it, beside a fresh server",
		"times the fresh server's", true, besideFresh},
	{"accounts", "accounts", "Accounts grow: delivery, beside a fresh server", "times the fresh server's", true,
		besideFresh},
	{"accounts-time", "accounts", "Accounts grow: times and memory", "ms, MiB", false, [][2]string{
		{"ack_p50_ms", "250 after, median ms"}, {"ack_p99_ms", "250 after, p99 ms"}, {"start_ms", "start, ms"},
		{"rest_mib", "memory at rest, MiB"}, {"account_list_ms", "account list, ms"}}},
	{"store", "store", "The store grows: delivery of the mix, beside a fresh server", "times the fresh server's", true,
		besideFresh},
	{"store-time", "store", "The store grows: acknowledgement", "ms", true, [][2]string{
		{"ack_p50_ms", "250 after, median"}, {"ack_p99_ms", "250 after, p99"},
		{"fresh_ack_p50_ms", "median, fresh server"}, {"fresh_ack_p99_ms", "p99, fresh server"}}},
	{"store-disk", "store", "The store grows: bytes on disk for each byte of mail", "ratio", true, [][2]string{
		{"write_amplification", "written"}, {"space_overhead", "kept"}}},
	{"queue", "queue", "The queue grows: rates", "messages/s", false, [][2]string{
		{"submit_per_s", "taken, with so many waiting"}, {"drain_per_s", "relayed when the next server wakes"}}},
	{"queue-time", "queue", "The queue grows: times and memory", "ms, MiB", false, [][2]string{
		{"submit_p50_ms", "250 after, median ms"}, {"submit_p99_ms", "250 after, p99 ms"},
		{"queue_list_ms", "queue list, ms"}, {"start_ms", "start, ms"}, {"mib", "memory, MiB"}}},
	{"connections", "connections", "Connections grow: rates", "a second", false, [][2]string{
		{"smtp_delivered_per_s", "messages delivered"}, {"fetch_per_s", "bodies fetched"}}},
	{"connections-time", "connections", "Connections grow: waiting", "ms", false, [][2]string{
		{"smtp_ack_p50_ms", "250 after, median"}, {"smtp_ack_p99_ms", "250 after, p99"},
		{"fetch_p50_ms", "FETCH, median"}, {"fetch_p99_ms", "FETCH, p99"}}},
}
