# With the argument accept a thread accepts connections, too, and has let go of Ruby's lock
# while it waits for them. At SIGUSR1 it begins anew, in the same process.
require 'socket'

class Pool
  def open
    Socket.new(:INET, :STREAM) # SOCKET
  end
end

class Gate
  def initialize
    @server = TCPServer.new('127.0.0.1', 0)
  end

  def port
    @server.addr[1]
  end

  def take
    @server.accept # ACCEPT
  end
end

def admit(gate)
  loop { gate.take.close }
end

def serve(pool, gate)
  loop do
    pool.open.close
    TCPSocket.new('127.0.0.1', gate.port).close if gate # CONNECT
    sleep 0.1
  end
end

trap('USR1') { exec('ruby', __FILE__, 'again') }

gate = Gate.new if ARGV[0] == 'accept'
Thread.new { admit(gate) } if gate
serve(Pool.new, gate)
