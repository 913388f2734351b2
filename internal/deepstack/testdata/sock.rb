# A thread accepts what another connects, and has let go of Ruby's lock meanwhile.
require 'socket'

class Pool
  def open
    Socket.new(:INET, :STREAM) # SOCKET
  end
end

class Gate
  attr_reader :server

  def initialize
    @server = TCPServer.new('127.0.0.1', 0)
  end

  def take
    @server.accept # ACCEPT
  end
end

def admit(gate)
  loop { gate.take.close }
end

def serve(pool, port)
  loop do
    pool.open.close
    TCPSocket.new('127.0.0.1', port).close
    sleep 0.1
  end
end

gate = Gate.new
Thread.new { admit(gate) }
serve(Pool.new, gate.server.addr[1])
