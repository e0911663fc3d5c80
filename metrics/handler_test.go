package metrics

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
)

// A slow collector tells when it is asked and answers when it may.
type slow struct{ asked, may chan struct{} }

func (slow) Describe(descs chan<- *prometheus.Desc) {
	descs <- prometheus.NewDesc("slow", "Never sent.", nil, nil)
}

func (s slow) Collect(chan<- prometheus.Metric) {
	s.asked <- struct{}{}
	<-s.may
}

func TestScrapesHaveALimit(t *testing.T) {
	s := slow{make(chan struct{}), make(chan struct{})}
	h, err := Handler("", logrus.New(), s)
	if err != nil {
		t.Fatal(err)
	}
	scrape := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
		return w.Code
	}
	var wg sync.WaitGroup
	for range maxScrapes {
		wg.Go(func() {
			if code := scrape(); code != http.StatusOK {
				t.Errorf("status %d", code)
			}
		})
		<-s.asked
	}
	if code := scrape(); code != http.StatusServiceUnavailable {
		t.Errorf("beyond the limit: status %d", code)
	}
	close(s.may)
	wg.Wait()
}
