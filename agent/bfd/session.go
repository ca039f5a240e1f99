// SPDX-License-Identifier: Apache-2.0

package bfd

import "time"

// slow is how often a session at most sends that is not Up (RFC 5880, section 6.8.3).
const slow = time.Second

// Options are what a session is to be.
type Options struct {
	Discriminator uint32        // not 0
	Interval      time.Duration // between packets, in both directions
	Multiplier    uint8         // packets that may be lost in a row, not 0
	// Random returns a time from 0 to less than what it is given.
	Random func(time.Duration) time.Duration
}

// Session is one end of a session, the active one: it speaks first.
type Session struct {
	Options
	state      State
	diagnostic Diagnostic
	theirs     Control // last received; before that as RFC 5880, section 6.8.1, has it

	polling  bool          // what we ask for has changed, and they have not confirmed it
	transmit time.Duration // what we say that we want
	sending  time.Duration // what we do meanwhile: slower only once it is confirmed

	next    time.Time // the next packet is due
	expires time.Time // they must have sent by then; zero: never
}

// New begins a session. Its first packet is due at once.
func New(o Options, now time.Time) *Session {
	s := &Session{Options: o, state: Down, next: now}
	s.forget()
	s.transmit = max(o.Interval, slow)
	s.sending = s.transmit
	return s
}

// State is what the session has come to, Diagnostic why it last left Up.
func (s *Session) State() State           { return s.state }
func (s *Session) Diagnostic() Diagnostic { return s.diagnostic }

// Detection is how long the other end may be silent.
func (s *Session) Detection() time.Duration {
	return time.Duration(s.theirs.Multiplier) * max(s.Interval, s.theirs.MinTransmit)
}

// Wake is when Tick has something to do; false: only after a packet.
func (s *Session) Wake() (at time.Time, ok bool) {
	at, ok = s.next, s.periodic()
	if !s.expires.IsZero() && (!ok || s.expires.Before(at)) {
		return s.expires, true
	}
	return at, ok
}

// forget is what is known of the other end at first, and after it was silent.
func (s *Session) forget() {
	s.theirs = Control{State: Down, MinReceive: time.Microsecond}
	s.expires = time.Time{}
}

// Receive takes a packet that Parse let pass, and returns what is to be sent
// for it at once.
func (s *Session) Receive(c Control, now time.Time) (send []Control) {
	if c.Your != 0 && c.Your != s.Discriminator || s.state == AdminDown {
		return nil
	}
	s.theirs = c
	s.expires = now.Add(s.Detection())
	if s.polling && c.Final {
		s.polling, s.sending = false, s.transmit
	}
	before := s.state
	switch {
	case c.State == AdminDown:
		s.fall(NeighborSaysDown)
	case s.state == Down && c.State == Down:
		s.enter(Init)
	case s.state == Down && c.State == Init, s.state == Init && c.State != Down:
		s.enter(Up)
	case s.state == Up && c.State == Down:
		s.fall(NeighborSaysDown)
	}
	if c.Poll {
		answer := s.control()
		answer.Poll, answer.Final = false, true
		send = append(send, answer)
	}
	if s.state != before {
		send = append(send, s.control())
	}
	s.hasten(now)
	return send
}

// Tick returns what is due.
func (s *Session) Tick(now time.Time) (send []Control) {
	if !s.expires.IsZero() && !now.Before(s.expires) {
		s.forget()
		if s.state == Init || s.state == Up {
			s.fall(Expired)
			send = append(send, s.control())
		}
	}
	if s.periodic() && !now.Before(s.next) {
		if len(send) == 0 {
			send = append(send, s.control())
		}
		s.next = now.Add(s.pause())
	}
	return send
}

// End leaves the session for good, and returns what tells the other end that
// nothing has failed.
func (s *Session) End() Control {
	s.state, s.diagnostic, s.polling = AdminDown, Administratively, false
	return s.control()
}

// enter goes on to a state and asks for what it needs.
func (s *Session) enter(state State) {
	s.state = state
	want := max(s.Interval, slow)
	if state == Up {
		s.diagnostic, want = NoDiagnostic, s.Interval
	}
	if want == s.transmit {
		return
	}
	s.transmit = want
	s.polling = state == Up // they are told at once; elsewhere nothing is counted
	if want < s.sending || state != Up {
		s.sending = want
	}
}

func (s *Session) fall(why Diagnostic) {
	if s.state == Down {
		return
	}
	s.diagnostic = why
	s.enter(Down)
}

// periodic tells whether packets are sent by themselves: not to who wants none.
func (s *Session) periodic() bool {
	quiet := s.theirs.Demand && s.theirs.State == Up && s.state == Up && !s.polling
	return s.theirs.MinReceive != 0 && !quiet && s.state != AdminDown
}

// interval is the time between packets.
func (s *Session) interval() time.Duration { return max(s.sending, s.theirs.MinReceive) }

// pause is that time, less up to a quarter, so that sessions do not meet for
// ever; with a multiplier of 1 at least a tenth less (RFC 5880, section 6.8.7).
func (s *Session) pause() time.Duration {
	d := s.interval()
	if s.Multiplier == 1 {
		return d - d/10 - s.Random(d*15/100+1)
	}
	return d - s.Random(d/4+1)
}

// hasten brings the next packet nearer if the time between them has shrunk.
func (s *Session) hasten(now time.Time) {
	if latest := now.Add(s.interval()); s.next.After(latest) {
		s.next = now.Add(s.pause())
	}
}

func (s *Session) control() Control {
	return Control{
		Diagnostic: s.diagnostic, State: s.state, Poll: s.polling, Multiplier: s.Multiplier, My: s.Discriminator, Your: s.theirs.My,
		MinTransmit: s.transmit, MinReceive: s.Interval,
	}
}
