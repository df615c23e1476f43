package starttls

import (
	"encoding/xml"
	"strings"
)

const (
	nsStream = "http://etherx.jabber.org/streams"
	nsTLS    = "urn:ietf:params:xml:ns:xmpp-tls"
)

// xmpp follows RFC 6120, section 5.4. The namespace is that of clients or of servers.
func xmpp(namespace string) func(*dialogue, string) error {
	return func(d *dialogue, name string) error {
		// The decoder reads byte by byte, as d.in is an io.ByteReader, and so nothing beyond a closing ">".
		in := xml.NewDecoder(d.in)
		if err := d.xmppStream(in, namespace, name); err != nil {
			return err
		}
		if err := d.xmppFeatures(in); err != nil {
			return err
		}
		return d.xmppProceed(in)
	}
}

// xmppStream opens a stream and reads the server's stream header.
func (d *dialogue) xmppStream(in *xml.Decoder, namespace, name string) error {
	var to strings.Builder
	_ = xml.EscapeText(&to, []byte(name)) // a Builder returns no errors
	header := "<?xml version='1.0'?><stream:stream xmlns='" + namespace + "' xmlns:stream='" + nsStream +
		"' to='" + to.String() + "' version='1.0'>"
	if err := d.say(header, "an XMPP stream header"); err != nil {
		return err
	}
	// Fail now if this is not XML: the decoder would wait for the first "<".
	if first, err := d.in.Peek(1); err != nil {
		return d.readError(err)
	} else if first[0] != '<' {
		return d.fail(ProtocolError, nil)
	}
	stream, err := d.element(in)
	if err != nil {
		return err
	}
	if stream.Name != (xml.Name{Space: nsStream, Local: "stream"}) {
		return d.fail(ProtocolError, nil)
	}
	d.expected = "stream features with starttls"
	if !announcesFeatures(stream) {
		return d.fail(Unsupported, nil)
	}
	return nil
}

// xmppFeatures reads the stream features, which must include STARTTLS.
func (d *dialogue) xmppFeatures(in *xml.Decoder) error {
	start, err := d.element(in)
	if err != nil {
		return err
	}
	if start.Name != (xml.Name{Space: nsStream, Local: "features"}) {
		return d.fail(ProtocolError, nil)
	}
	var features struct {
		StartTLS *struct{} `xml:"urn:ietf:params:xml:ns:xmpp-tls starttls"`
	}
	if err := in.DecodeElement(&features, &start); err != nil {
		return d.readError(err)
	}
	if features.StartTLS == nil {
		return d.fail(Unsupported, nil)
	}
	return nil
}

// xmppProceed requests TLS and reads the answer.
func (d *dialogue) xmppProceed(in *xml.Decoder) error {
	for d.in.Buffered() > 0 { // only white space may follow the features
		if b, _ := d.in.ReadByte(); !strings.ContainsRune(" \t\r\n", rune(b)) {
			return d.fail(ProtocolError, errEarly)
		}
	}
	if err := d.say("<starttls xmlns='"+nsTLS+"'/>", "<proceed/> in reply to <starttls/>"); err != nil {
		return err
	}
	answer, err := d.element(in)
	if err != nil {
		return err
	}
	switch answer.Name {
	case xml.Name{Space: nsTLS, Local: "proceed"}:
		if err := in.Skip(); err != nil {
			return d.readError(err)
		}
		return nil
	case xml.Name{Space: nsTLS, Local: "failure"}:
		return d.fail(Rejected, nil)
	}
	return d.fail(ProtocolError, nil)
}

// announcesFeatures reports whether stream features will follow a stream header. A header without a version comes from
// a server older than stream features (RFC 6120, section 4.7.5).
func announcesFeatures(stream xml.StartElement) bool {
	for _, a := range stream.Attr {
		if a.Name.Space == "" && a.Name.Local == "version" {
			return true
		}
	}
	return false
}

// element reads up to the start of the next element. It returns an error if this is a stream error or the end of the
// stream.
func (d *dialogue) element(in *xml.Decoder) (xml.StartElement, error) {
	for {
		token, err := in.Token()
		if err != nil {
			return xml.StartElement{}, d.readError(err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			if t.Name == (xml.Name{Space: nsStream, Local: "error"}) {
				d.said = []byte("stream error: " + streamError(in, &t))
				return t, d.fail(Rejected, nil)
			}
			return t, nil
		case xml.EndElement:
			return xml.StartElement{}, d.fail(Rejected, nil)
		}
	}
}

// streamError reads a stream error and returns its condition and text (RFC 6120, section 4.9.2). If the stream ends
// early, it returns what was read.
func streamError(in *xml.Decoder, start *xml.StartElement) string {
	var e struct {
		Parts []struct {
			XMLName xml.Name
			Text    string `xml:",chardata"`
		} `xml:",any"`
	}
	_ = in.DecodeElement(&e, start)
	var words []string
	for _, p := range e.Parts {
		if p.XMLName.Local == "text" {
			words = append(words, p.Text)
		} else {
			words = append(words, p.XMLName.Local)
		}
	}
	return strings.Join(words, ": ")
}
