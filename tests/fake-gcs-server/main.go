// Command fake-gcs-server is fsouza's fake-gcs-server, in memory, with what Google's XML interface has and it lacks:
//
//	fake-gcs-server LISTEN TOKEN [BUCKET…]
//
// It takes `PUT /bucket/object`, whose x-goog-if-generation-match becomes the JSON interface's ifGenerationMatch, and
// refuses every request without the bearer token. Objects, generations, preconditions, listings and deletions are
// fake-gcs-server's own. With IGNORE_PRECONDITIONS set it overwrites whatever it is told not to.
package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

// What fake-gcs-server takes for the host of the XML interface.
const host = "xml.invalid"

// A batch of openings is the largest object that is written.
const maxObject = 256 << 20

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: fake-gcs-server LISTEN TOKEN [BUCKET...]")
	}
	fake, err := fakestorage.NewServerWithOptions(fakestorage.Options{NoListener: true, PublicHost: host})
	check(err)
	for _, bucket := range os.Args[3:] {
		fake.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: bucket})
	}
	listener, err := net.Listen("tcp", os.Args[1])
	check(err)
	fmt.Println(listener.Addr())
	check(http.Serve(listener, &server{fake, "Bearer " + os.Args[2], os.Getenv("IGNORE_PRECONDITIONS") != ""}))
}

type server struct {
	fake                *fakestorage.Server
	authorization       string
	ignorePreconditions bool
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, object, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if r.Header.Get("Authorization") != s.authorization {
		refuse(w, http.StatusUnauthorized, "AuthenticationRequired", "Authentication required.")
	} else if _, err := s.fake.Backend().GetBucket(bucket); err != nil {
		refuse(w, http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist.")
	} else if r.Method == http.MethodPut {
		s.put(w, r, bucket, object)
	} else {
		r.Host = host
		s.fake.HTTPHandler().ServeHTTP(w, r)
	}
}

func (s *server) put(w http.ResponseWriter, r *http.Request, bucket, object string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxObject))
	if err != nil {
		refuse(w, http.StatusBadRequest, "IncompleteBody", err.Error())
		return
	}
	query := url.Values{"uploadType": {"media"}, "name": {object}}
	if generation := r.Header.Get("x-goog-if-generation-match"); generation != "" && !s.ignorePreconditions {
		query.Set("ifGenerationMatch", generation)
	}
	target := "/upload/storage/v1/b/" + url.PathEscape(bucket) + "/o?" + query.Encode()
	answer := httptest.NewRecorder()
	s.fake.HTTPHandler().ServeHTTP(answer, httptest.NewRequest(http.MethodPost, target, bytes.NewReader(body)))
	switch answer.Code {
	case http.StatusOK:
		var made struct{ Generation, Etag string }
		check(json.Unmarshal(answer.Body.Bytes(), &made))
		w.Header().Set("x-goog-generation", made.Generation)
		w.Header().Set("ETag", fmt.Sprintf("%q", made.Etag))
	case http.StatusPreconditionFailed:
		refuse(w, answer.Code, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")
	default:
		refuse(w, answer.Code, "InternalError", answer.Body.String())
	}
}

// An error as the XML interface words it.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml; charset=UTF-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s</Code><Message>", code)
	check(xml.EscapeText(w, []byte(message)))
	fmt.Fprint(w, "</Message></Error>")
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
