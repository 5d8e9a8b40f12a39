-- For wrk: a small JSON to be parsed and sent back.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"id":42,"name":"widget","price":9.75,"tags":["a","b"],"stock":{"berlin":3,"paris":0}}'
