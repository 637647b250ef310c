# The Hello, World client in CoffeeScript: five requests, five replies.
#
#     coffee client.coffee [ENDPOINT]        default tcp://127.0.0.1:5555

zmq = require 'zeromq'

seconds = 5
endpoint = process.argv[2] ? 'tcp://127.0.0.1:5555'

hello = ->
  console.log 'Connecting to server...'
  requester = new zmq.Request receiveTimeout: seconds * 1000, sendTimeout: seconds * 1000, linger: 0
  requester.connect endpoint

  # A REQ sends one request at a time, so they queue here.
  queue = for number in [1..5]
    console.log "Sending request #{number}..."
    'Hello'

  for request, index in queue
    await requester.send request
    [reply] = await requester.receive()
    console.log "Received reply #{index + 1}: #{reply}"

  requester.close()

if endpoint in ['-h', '--help']
  console.log 'usage: coffee client.coffee [ENDPOINT]        default tcp://127.0.0.1:5555'
  process.exit 0

hello().catch (error) ->
  if error.code is 'EAGAIN'
    console.error "cannot get five replies: no answer from #{endpoint} within #{seconds} s"
    console.error 'hint: is the bus running, with a back-end? scripts/run starts both'
  else
    console.error "cannot get five replies: #{endpoint}: #{error.message}"
    console.error 'hint: an endpoint looks like tcp://127.0.0.1:5555'
  process.exitCode = 1
