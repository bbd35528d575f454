/** Who is in simulated directories. */
export type Person = {
  username: string;
  givenName: string;
  surname: string;
  title: string;
  department: string;
  enabled: boolean;
};

const person = (username: string, name: string, title: string, department: string, enabled = true): Person => {
  const [givenName = '', surname = ''] = name.split(' ');
  return { username, givenName, surname, title, department, enabled };
};

export const PEOPLE: readonly Person[] = [
  person('asmith', 'Alice Smith', 'Engineering Manager', 'Engineering'),
  person('bjones', 'Bob Jones', 'Software Engineer', 'Engineering'),
  person('cgarcia', 'Carmen Garcia', 'Site Reliability Engineer', 'Engineering'),
  person('dchen', 'David Chen', 'Data Scientist', 'Research'),
  person('emuller', 'Eva Müller', 'Research Lead', 'Research'),
  person('fokafor', 'Femi Okafor', 'Accountant', 'Finance'),
  person('gsilva', 'Gabriela Silva', 'Head of Finance', 'Finance'),
  person('htanaka', 'Hiro Tanaka', 'HR Specialist', 'Human Resources'),
  person('iivanova', 'Irina Ivanova', 'Intern', 'Research', false),
];

/** Groups, and who is in them. */
export const GROUPS: readonly { name: string; description: string; members: readonly string[] }[] = [
  { name: 'engineering', description: 'Everyone in Engineering', members: ['asmith', 'bjones', 'cgarcia'] },
  { name: 'research', description: 'Everyone in Research', members: ['dchen', 'emuller', 'iivanova'] },
  { name: 'finance', description: 'Everyone in Finance', members: ['fokafor', 'gsilva'] },
  { name: 'managers', description: 'Who leads others', members: ['asmith', 'emuller', 'gsilva'] },
  { name: 'vpn-users', description: 'Who may use the VPN', members: ['asmith', 'cgarcia', 'dchen'] },
];

/** Of all of them, for it is no secret. */
export const PASSWORD = 'Passw0rd!';
