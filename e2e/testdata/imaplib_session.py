"""One person's session with Python's smtplib and imaplib; prints "all done" at its end."""
import imaplib
import smtplib
import ssl
import sys
import time
from email.message import EmailMessage

base, ca, alice, bob, password = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5]
context = ssl.create_default_context(cafile=ca)

message = EmailMessage()
message["From"], message["To"], message["Subject"] = bob, alice, "Chào buổi sáng"
message.set_content("Đây là nội dung.\n")
message.add_attachment(bytes(range(256)) * 100, maintype="application", subtype="octet-stream", filename="dữ liệu.bin")
with smtplib.SMTP("localhost", base + 587) as smtp:
    smtp.starttls(context=context)
    smtp.login(bob, password)
    smtp.send_message(message)


def ok(reply):
    assert reply[0] == "OK", reply
    return reply[1]


imap = imaplib.IMAP4_SSL("localhost", base + 993, ssl_context=context)
ok(imap.login(alice, password))
for _ in range(200):
    if int(ok(imap.select("INBOX"))[0]) == 1:
        break
    time.sleep(0.05)
else:
    raise SystemExit("the message did not arrive")

assert ok(imap.search(None, "UNSEEN"))[0] == b"1"
raw = ok(imap.fetch("1", "(RFC822)"))[0][1]
assert b"Subject: =?utf-8?" in raw.replace(b"UTF-8", b"utf-8"), raw[:600]
assert ok(imap.search(None, "UNSEEN"))[0] in (b"", None)
ok(imap.store("1", "+FLAGS", r"(\Flagged $Important)"))
assert b"$Important" in ok(imap.fetch("1", "(FLAGS)"))[0]
ok(imap.create("Work"))
ok(imap.copy("1", "Work"))
ok(imap.uid("MOVE", "1", "Archive"))
assert int(ok(imap.select("INBOX"))[0]) == 0
assert int(ok(imap.select("Archive"))[0]) == 1
ok(imap.append("Archive", r"(\Seen)", imaplib.Time2Internaldate(time.time()), b"Subject: put here\r\n\r\nbody\r\n"))
ok(imap.noop())
assert ok(imap.search(None, 'SUBJECT "put here"'))[0] == b"2"
ok(imap.store("2", "+FLAGS", r"(\Deleted)"))
assert ok(imap.expunge())[0] == b"2"
assert int(ok(imap.select("Archive"))[0]) == 1
typ, data = imap.fetch("1", "(BODYSTRUCTURE ENVELOPE)")
assert typ == "OK" and b"octet-stream" in b" ".join(x if isinstance(x, bytes) else b" ".join(x) for x in data).lower()
ok(imap.close())
ok(imap.delete("Work"))

# Alice shares a folder with Bob, who reads it and takes a message home.
ok(imap.setacl("Archive", bob, "lrsw"))
assert bob.encode() + b" lrsw" in ok(imap.getacl("Archive"))[0]
theirs = imaplib.IMAP4_SSL("localhost", base + 993, ssl_context=context)
ok(theirs.login(bob, password))
assert b'"Other users/"' in ok(theirs.namespace())[0]
name = f'"Other users/{alice}/Archive"'
assert ok(theirs.myrights(name))[0].endswith(b" lrsw")
assert any(name.encode() in line for line in ok(theirs.list('""', '"*"')))
assert int(ok(theirs.select(name))[0]) == 1
ok(theirs.fetch("1", "(RFC822)"))
assert ok(theirs.search(None, "SEEN"))[0] == b"1"
ok(theirs.copy("1", "Archive"))
assert theirs.expunge()[0] == "NO"
assert int(ok(theirs.select("Archive"))[0]) == 1
assert ok(theirs.fetch("1", "(RFC822)"))[0][1] == raw
theirs.logout()
ok(imap.deleteacl("Archive", bob))
imap.logout()
print("all done")
