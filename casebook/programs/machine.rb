# Story 5: a server of routers on EventMachine. Two mistakes, one at a time:
#
#   heap   what routers say is kept in an array for ever: memory grows. Sockets
#          come and go, and that is no socket leak.
#   leak   a router that is unplugged says nothing more, and nothing here asks:
#          its connection is kept (half-open). The healthy twin (ok) closes what
#          was silent for 5 s.
#
#   machine.rb heap|leak|ok ADDRESS PORT
require 'eventmachine'

MODE = ARGV[0]
HISTORY = []

class Router < EM::Connection
  def post_init
    @heard = Time.now
    @push = EM.add_periodic_timer(2) { push }
  end

  def push
    if MODE == 'ok' && Time.now - @heard > 5
      close_connection
    else
      send_data("time #{Time.now.to_i}\n")
    end
  end

  def receive_data(data)
    @heard = Time.now
    HISTORY << data * 1000 if MODE == 'heap'
    send_data("ok\n")
  end

  def unbind
    @push.cancel
  end
end

module Input
  def unbind
    EM.stop
  end
end

$stdout.sync = true
EM.run do
  EM.start_server(ARGV[1], Integer(ARGV[2]), Router)
  EM.attach($stdin, Input)
  puts 'ready'
end
