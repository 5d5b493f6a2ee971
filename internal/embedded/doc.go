// Package embedded runs the two servers that EdgePulse needs as parts of itself:
// a NATS server with JetStream inside this process, and a private PostgreSQL as
// a child process. One binary on one machine; nothing else to install or operate.
//
// What comes in: a folder and a few bounds. What goes out: addresses to connect
// to. Order: none; the servers do not know of each other. State: everything
// under the given folders; one process owns a folder at a time (a file lock that
// the kernel releases when the process dies). On failure Start says what is
// wrong and what to do about it; after a crash of any of the processes the next
// Start recovers: JetStream fsyncs every message before it answers, PostgreSQL
// replays its write-ahead log with fsync on.
//
// PostgreSQL refuses to run as root. A root process drops the child to the user
// "postgres", or else "nobody", and gives that user the data folder.
//
// Where no PostgreSQL is installed, a process that is not root fetches the
// binaries once into its cache folder, through fergusstrange/embedded-postgres.
// That path needs a network that serves them and is not run by the tests here.
package embedded
