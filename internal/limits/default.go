package limits

import "time"

// Default returns the limits of a server whose operator has changed nothing.
func Default() Set {
	return Set{
		SMTP: SMTP{
			CommandLine: 2048, AuthLine: 12288, TextLine: 64 * KiB, MessageSize: 50 * MiB,
			Recipients: 100, SubmitRecipients: 500, ErrorsDelay: 5, ErrorsClose: 10,
			InvalidRcpt: 10, Transactions: 100, SessionLife: 20 * time.Minute,
			Idle: 5 * time.Minute, IdleStress: 10 * time.Second, DataBlock: 3 * time.Minute,
			DataRate: 500, DataGrace: 30 * time.Second, DataTotal: 30 * time.Minute,
			Hops: 50, OwnHops: 25, HoldMax: 30 * 24 * time.Hour,
		},
		Client: Client{
			Connect: 30 * time.Second, Greeting: 5 * time.Minute,
			Handshake: 30 * time.Second, Mail: 5 * time.Minute,
			Rcpt: 5 * time.Minute, Data: 2 * time.Minute, Block: 3 * time.Minute,
			Dot: 10 * time.Minute, Quit: 10 * time.Second, ReplyLine: 4 * KiB, ReplyLines: 100,
		},
		Queue: Queue{
			FirstRetry: 5 * time.Minute, Factor: 1.7, MaxRetry: 4 * time.Hour, Jitter: 0.2,
			Warn: 4 * time.Hour, Expire: 120 * time.Hour, ExpireNotice: 48 * time.Hour,
			Workers: 200, DestMin: 2, DestMax: 20, PerSession: 100,
			Reuse: 2 * time.Second, Slow: 5 * time.Second, SlowSessions: 800, Active: 1000,
			Remembered: 10000, PerDay: 1000, NewPerDay: 200, Burst: 60,
		},
		Message: Message{
			HeaderBytes: 256 * KiB, FieldBytes: 64 * KiB, Fields: 1000, Addresses: 1000,
			TotalAddresses: 2000, Depth: 32, Parts: 1000, Params: 50, Boundary: 70,
			References: 100, Preview: 256, SearchText: 4 * MiB,
		},
		IMAP: IMAP{
			PreAuthLine: 8 * KiB, PreAuthLiterals: 8 * KiB, PreAuthIdle: time.Minute,
			PreAuthCommands: 5, Line: 64 * KiB, Literals: 256 * KiB, Quoted: 8 * KiB, Depth: 32,
			Ranges: 10000, BadCommands: 10, AppendSize: 50 * MiB, AppendSum: 200 * MiB,
			AppendMessages: 1000, CommandMessages: 1000000, AppendParts: 1000,
			Idle: 30 * time.Minute, WriteStall: time.Minute,
			SearchTime: 30 * time.Second, KeywordBytes: 100,
			Contexts: 20, ContextMessages: 200000, Connections: 20000,
			NotifyMailboxes: 5000, SearchMailboxes: 5000, FetchMemory: 64 * MiB,
		},
		POP3: POP3{
			Line: 1024, PreAuthIdle: time.Minute, PreAuthCommands: 10, BadCommands: 10,
			Idle: 10 * time.Minute, WriteStall: time.Minute, Connections: 5000,
		},
		Conn: Conn{
			PerIP: 20, PerUser: 100, PerUserIP: 20, Total: 1000, NewPerMinute: 300,
			Reserved: 0.2, Handshake: 10 * time.Second, ProxyHeader: 5 * time.Second,
			Drain: 4 * time.Second,
		},
		Auth: Auth{
			ArgonMemoryKiB: 64 * KiB, ArgonTime: 2, SCRAMRounds: 32768, HashQueue: 50, PasswordMin: 12,
			PasswordMax: 256, CacheTTL: time.Minute, PerMinute: 10, PerDay: 50, WiderFactor: 3,
			AccountPerHour: 20, DelayMin: time.Second, DelayMax: 30 * time.Second,
			BanMin: time.Hour, BanMax: 24 * time.Hour, Tarpit: time.Second, SASLBytes: 8 * KiB,
			Sources: 50000, KnownFor: 90 * 24 * time.Hour, AppPasswords: 100, AliasDepth: 10,
			AliasTargets: 1000,
		},
		DNS: DNS{
			Query: 5 * time.Second, Tries: 2, Total: 20 * time.Second, Cache: 100000, MX: 20,
			Addrs: 10, CNAME: 8, MaxTTL: 24 * time.Hour, MaxNegative: time.Hour,
		},
		Storage: Storage{
			Reserve: GiB, ReservePercent: 2, Ballast: 64 * MiB, BlobGrace: 24 * time.Hour,
			Recoverable: 14 * 24 * time.Hour, RecoverableBytes: 8 * GiB, ChangeLog: 100000, Expunged: 100000,
			Mailboxes: 100000, Keywords: 1000, NameBytes: 1000, NameDepth: 32,
			MetadataEntries: 100, MetadataValue: 64 * KiB, MetadataBytes: 4 * MiB,
			ACLEntries: 256,
			Dedupe:     15 * time.Minute, Trace: 14 * 24 * time.Hour,
		},
		HTTP: HTTP{
			ReadHeader: 5 * time.Second, Read: 30 * time.Second, Write: time.Minute,
			Idle: 2 * time.Minute, Header: 32 * KiB, Body: 10 * MiB,
		},
		MailAuth: defaultMailAuth(),
		Signing:  defaultSigning(),

		TLSPolicy: defaultTLSPolicy(),
		Words:     defaultWords(),
		Reports:   defaultReports(),
		Spam:      defaultSpam(),
		Content:   defaultContent(),
		Scan:      defaultScan(),
	}
}
