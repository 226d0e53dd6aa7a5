package directory

import "tram/internal/smtp"

// returns makes and reads return addresses. Their secret comes from the pepper, as all others.
func (d *Directory) returns() smtp.ReturnAddresses {
	return smtp.ReturnAddresses{Secret: d.keys.ret, Age: d.o.Signing.Return}
}

// ReturnAddress returns the address, in a domain of ours, under which mail of from is sent on: a bounce to it
// finds its way back for limits.Signing.Return. The null sender stays, and is also what becomes of a sender
// whose return address would be longer than a path may be.
func (d *Directory) ReturnAddress(from smtp.Address, domain string) smtp.Address {
	a := d.returns().Make(from, domain, d.clock.Now())
	if len(a.Path()) > smtp.MaxPath {
		return smtp.Address{}
	}
	return a
}

// ReturnSender returns whose return address an address is: a itself if it is none, or none that holds.
func (d *Directory) ReturnSender(a smtp.Address) smtp.Address {
	if !smtp.IsReturnAddress(a.Local) || !d.IsLocal(a.Domain) {
		return a
	}
	from, err := d.returns().Sender(a, d.clock.Now())
	if err != nil {
		return a
	}
	return from
}
