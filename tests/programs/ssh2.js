// A client of node's ssh2 as A or as C: `node ssh2.js '{"open": ...}'`, or "publish".
//
// It says what happens, a line each: the cipher after each exchange of keys, what is ready, what was
// refused. Told to (`rekey`), it changes keys each time so many bytes have gone through.
'use strict';

const fs = require('fs');
const net = require('net');
const { Client } = require('ssh2');

const given = JSON.parse(process.argv[2]);

/** A leg to `host:port`, or through a channel. */
function connect(host, port, channel, hostKey, cipher) {
  const leg = new Client();
  leg.on('handshake', (agreed) => console.log(`keys for ${host}: ${agreed.cs.cipher}`));
  leg.on('error', (error) => { console.log(`error: ${error.message}`); process.exit(1); });
  leg.on('close', () => { console.log('closed'); process.exit(1); });
  leg.connect({
    host, port, sock: channel, username: given.user, privateKey: fs.readFileSync(given.key),
    hostVerifier: (key) => key.toString('base64') === hostKey,
    algorithms: cipher && { cipher: [cipher] },
  });
  return new Promise((resolve) => { leg.on('ready', () => resolve(leg)); });
}

let passed = 0;

function count(leg, size) {
  passed += size;
  if (given.rekey && passed >= given.rekey) {
    passed = 0;
    leg._protocol.rekey(); // Its README gives a client `rekey`, its code only a server.
  }
}

/** Join a socket and a channel: each one's end is passed on, and both are over when both have ended. */
function join(leg, socket, channel) {
  let halves = 2;
  const half = () => { if (!--halves) channel.close(); };
  socket.on('data', (data) => count(leg, data.length));
  channel.on('data', (data) => count(leg, data.length));
  channel.on('end', half);
  channel.on('finish', half);
  socket.on('error', () => channel.close());
  channel.on('close', () => { if (halves) socket.destroy(); });
  socket.pipe(channel).pipe(socket);
}

/** A local port for each stream to a service. */
function open(leg, [host, port]) {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    leg.forwardOut('127.0.0.1', socket.remotePort, host, port, (error, channel) => {
      if (error) {
        console.log(`refused: ${error.message}`);
        socket.destroy();
      } else join(leg, socket, channel);
    });
  });
  server.listen({ host: '127.0.0.1', port: 0, backlog: 512 }, () => {
    console.log(`ready on ${server.address().port}`);
  });
}

/** A service of this machine under a name, or a port, of B's. */
function publish(leg, [host, port, target]) {
  leg.on('tcp connection', (_, accept, reject) => {
    const socket = net.connect({ host: '127.0.0.1', port: target, allowHalfOpen: true });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.removeListener('error', reject);
      join(leg, socket, accept());
    });
  });
  leg.forwardIn(host, port, (error, picked) => {
    console.log(error ? `refused: ${error.message}` : `published ${host}:${picked || port}`);
  });
}

async function main() {
  let leg = await connect('127.0.0.1', given.port, undefined, given.hostKey, given.cipher);
  if (given.through) {
    const [host, port, hostKey, cipher] = given.through;
    const channel = await new Promise((resolve, reject) => {
      leg.forwardOut('127.0.0.1', 0, host, port, (error, opened) => {
        if (error) reject(error);
        else resolve(opened);
      });
    });
    leg = await connect(host, port, channel, hostKey, cipher);
  }
  if (given.open) open(leg, given.open);
  else publish(leg, given.publish);
}

main();
